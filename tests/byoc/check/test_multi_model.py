"""The clauses of multi-model endpoints, each caught on a container with the fault that it names."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from byoc.check import Kind, Level, Status
from byoc.check.command import check

from .conftest import Mutant, not_kept, outcome

GOOD = Path(__file__).with_name("multi_model")


def mutant(name, breaks, edits, file="serve"):
    return Mutant(name, breaks, {file: edits}, of=GOOD)


MUTANTS = [
    (mutant("no-label", "models-label", {"multi-models": "many"}, "Dockerfile"), "not there"),
    (
        mutant(
            "looks-for-the-model-at-its-start",
            "models-in-service",
            {"signal.signal(": "(HOME.parent / 'model/model.json').read_text()\nsignal.signal("},
        ),
        "FileNotFoundError",
    ),
    (
        mutant(
            "loads-nothing",
            "models-load",
            {'"/models":\n            return self.load': '"/load":\n            return self.load'},
        ),
        "HTTP 404",
    ),
    (
        mutant("loads-again", "models-load-twice", {"self.answer(409": "self.answer(200"}),
        "HTTP 200",
    ),
    (mutant("lists-names-only", "models-list", {"[described(name) for": "[name for"}), "3c6e0b8a"),
    (mutant("first-page-only", "models-list", {"start + PAGE < len(names)": "False"}), "None"),
    (
        mutant("a-list-without-end", "models-list", {"start + PAGE < len(names)": "True"}),
        "still after 100 pages",
    ),
    (
        mutant(
            "loads-on-the-first-request",
            "models-load-failure",
            {"self.answer(500": "self.answer(200"},
        ),
        "HTTP 200",
    ),
    (mutant("no-get", "models-get", {"200, described(name)": '200, "loaded"'}), "loaded"),
    (
        mutant("invocations-only", "models-invoke", {'verb != "invoke"': 'verb != "invocations"'}),
        "HTTP 404",
    ),
    (
        mutant(
            "fails-for-a-model-it-does-not-have",
            "models-not-loaded",
            {"if name is None:": "if False:"},
        ),
        "no answer",
    ),
    (mutant("never-unloads", "models-unload", {"del models[name]": "pass"}), "listed are 3c6e0b8a"),
    (
        mutant("any-folder", "models-stay-inside", {"HOME not in": "False and HOME not in"}),
        "HTTP 200",
    ),
]


@pytest.fixture
def model(tmp_path):
    """A model's folder."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.json").write_text(json.dumps({"mean": 3.0}))
    return folder


@pytest.fixture
def settings(model):
    return {"kinds": frozenset({Kind.MULTI_MODEL}), "model": model, "training_data": None}


@pytest.mark.parametrize(("mutant", "words"), MUTANTS, ids=[mutant.name for mutant, _ in MUTANTS])
def test_a_mutant_is_caught_by_its_clause(mutant, words, settings, checked, tmp_path):
    report = checked(mutant.write(tmp_path / mutant.name), mutant.breaks, **settings)
    found = outcome(report, mutant.breaks)
    assert found.status is Status.BROKEN, found
    assert found.sent
    assert words in found.back
    assert report.exit_code == (1 if found.clause.level is Level.MUST else 0)


def test_the_good_container_keeps_every_clause(checked, settings):
    report = checked(GOOD, **settings)
    assert {o.status for o in report.outcomes} == {Status.KEPT}, not_kept(report)


def test_without_a_model_only_the_label_can_be_tried(checked, settings):
    report = checked(GOOD, **settings | {"model": None})
    assert outcome(report, "models-label").status is Status.KEPT
    assert outcome(report, "models-in-service").status is Status.UNKNOWN


def test_the_label_alone_brings_these_clauses_into_a_check(home, monkeypatch):
    monkeypatch.setenv("BYOC_ENGINE", "process")
    done = CliRunner().invoke(check, [str(GOOD), "--only", "models-label", "--json"])
    assert done.exit_code == 0, done.output
    assert [c["id"] for c in json.loads(done.stdout)["clauses"]] == ["models-label"]
