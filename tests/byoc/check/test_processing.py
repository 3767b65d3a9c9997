"""The clauses of processing jobs, each caught on a container with the fault that it names."""

from pathlib import Path

import pytest

from byoc.check import Kind, Level, Status

from .conftest import Mutant, not_kept, outcome

GOOD = Path(__file__).with_name("processing")
ENTRYPOINT = 'ENTRYPOINT ["python", "/opt/program/summarise.py"]'
LAST = '(ml / "processing/output/summary.json").write_text'


def mutant(name, breaks, edits, file="summarise.py", **settings):
    return Mutant(name, breaks, {file: edits}, settings=settings, of=GOOD)


MUTANTS = [
    (
        mutant("needs-an-argument", "process-starts", {ENTRYPOINT: ""}, "Dockerfile"),
        "no command specified",
    ),
    (
        mutant(
            "reads-the-files-of-a-training-job",
            "process-config",
            {
                '"config/resourceconfig.json"': '"input/config/resourceconfig.json"',
                "except Exception": "except ZeroDivisionError",
            },
        ),
        "/opt/ml/input/config/resourceconfig.json",
    ),
    (
        mutant(
            "waits-for-the-word-train",
            "process-succeeds",
            {"def main():": "def main():\n    sys.argv[1] == 'train'"},
        ),
        "list index out of range",
    ),
    (
        mutant(
            "writes-where-a-training-job-writes",
            "process-in-place",
            {LAST: '(ml / "model").mkdir()\n    (ml / "model/summary.json").write_text'},
        ),
        "/opt/ml/model/summary.json",
    ),
    (
        mutant(
            "links-its-output",
            "process-no-links",
            {LAST: '(ml / "processing/output/latest").symlink_to("summary.json")\n    ' + LAST},
        ),
        "/opt/ml/processing/output/latest",
    ),
    (
        mutant(
            "nothing-to-do-is-fine",
            "process-fails-loudly",
            {"raise ValueError(": "sys.exit(0)  # "},
        ),
        "no output; exit code 0",
    ),
    (
        mutant("no-message", "process-message", {'"output/message"': '"output/failure"'}),
        "no /opt/ml/output/message",
    ),
    (
        mutant("a-whole-traceback", "process-message", {'f"{error}", enc': 'f"{error}" * 99, enc'}),
        "1 KB is kept",
    ),
    (
        mutant(
            "a-message-in-utf-16",
            "process-message-utf8",
            {'encoding="utf-8"': 'encoding="utf-16"'},
        ),
        "is not UTF-8",
    ),
    (
        mutant(
            "shell-form",
            "process-exec-form",
            {ENTRYPOINT: "ENTRYPOINT python /opt/program/summarise.py"},
            "Dockerfile",
        ),
        "/bin/sh -c 'python",
    ),
    (
        mutant(
            "deaf",
            "process-stops",
            {"signal.signal(": "# signal.signal("},
            arguments=("--seconds", "6"),
            training_time=20.0,
        ),
        "killed after 2 s",
    ),
]


@pytest.fixture
def settings(rows):
    return {
        "kinds": frozenset({Kind.PROCESSING}),
        "processing_input": rows,
        "training_data": None,
        "payloads": (),
    }


@pytest.mark.parametrize(("mutant", "words"), MUTANTS, ids=[mutant.name for mutant, _ in MUTANTS])
def test_a_mutant_is_caught_by_its_clause(mutant, words, settings, checked, tmp_path):
    folder = mutant.write(tmp_path / mutant.name)
    report = checked(folder, mutant.breaks, **settings | dict(mutant.settings))
    found = outcome(report, mutant.breaks)
    assert found.status is Status.BROKEN, found
    assert found.sent
    assert words in found.back
    assert report.exit_code == (1 if found.clause.level is Level.MUST else 0)


def test_the_good_container_keeps_every_clause(checked, settings):
    report = checked(GOOD, **settings | {"arguments": ("--seconds", "3")})
    assert {o.status for o in report.outcomes} == {Status.KEPT}, not_kept(report)


def test_a_container_without_input_is_not_blamed_for_it(checked, settings):
    report = checked(GOOD, **settings | {"processing_input": None})
    assert not not_kept(report)
    assert outcome(report, "process-succeeds").status is Status.UNKNOWN
