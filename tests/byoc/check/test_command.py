"""`byoc check` as a shell sees it."""

import json
import shutil
from xml.etree import ElementTree as xml

import pytest
from click.testing import CliRunner

from byoc import engines
from byoc.cli import main

from .conftest import GOOD, ROWS


@pytest.fixture
def byoc():
    """Run `byoc check`; returns exit code, standard output and standard error."""

    def run(*words):
        done = CliRunner().invoke(main, ["check", *map(str, words)])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.stdout, done.stderr

    return run


@pytest.fixture
def data(tmp_path):
    (tmp_path / "data.csv").write_text(ROWS)
    return tmp_path / "data.csv"


def test_a_folder_that_keeps_the_contract(byoc, data, tmp_path):
    payload = tmp_path / "rows.csv"
    payload.write_text("1\n")
    given = ["--training-data", data, "--payload", f"{payload}:text/csv"]
    code, out, err = byoc(GOOD, *given, "--only", "train-succeeds", "--only", "invoke-payload")
    assert code == 0
    assert "✓ train-succeeds" in out
    assert "✓ invoke-payload" in out
    assert "byoc-check-good:check on process: 2 kept, 0 broken, 0 not tried" in out
    assert "process engine" in err
    assert "process engine: snapshot" not in out


def test_a_broken_must_is_1_and_is_told(byoc, tmp_path):
    folder = shutil.copytree(GOOD, tmp_path / "My Folder!")
    (folder / "train").unlink()
    (folder / "Dockerfile").write_text(
        (GOOD / "Dockerfile").read_text().replace("train serve", "serve")
    )
    code, out, _ = byoc(folder, "--only", "train-found")
    assert code == 1
    assert "✗ train-found (must): The word `train` leads to a program" in out
    assert "executable file not found in $PATH" in out
    assert "byoc-check-my-folder:check on process: 0 kept, 1 broken (1 must)" in out


def test_a_broken_should_is_0(byoc, tmp_path):
    folder = shutil.copytree(GOOD, tmp_path / "good")
    with (folder / "Dockerfile").open("a") as file:
        file.write("USER nobody\n")
    code, out, _ = byoc(folder, "--only", "image")
    assert code == 0
    assert "1 broken (1 should)" in out


def test_a_folder_with_programs_alone(byoc, data, tmp_path):
    folder = tmp_path / "programs"
    folder.mkdir()
    shutil.copy(GOOD / "train", folder)
    code, out, _ = byoc(
        folder, "--training-data", data, "--only", "train-model", "--as", "training"
    )
    assert code == 0, out
    assert not (folder / "Dockerfile").exists()


def test_nothing_could_be_tried(byoc):
    code, out, _ = byoc(GOOD, "--only", "train-succeeds")
    assert code == 2
    assert "– train-succeeds" in out
    assert "give --training-data" in out


def test_json_and_junit(byoc, data, tmp_path):
    file = tmp_path / "report.xml"
    words = ["--training-data", data, "--only", "train-s*", "--json", "--junit", file]
    code, out, _ = byoc(GOOD, *words)
    found = json.loads(out)
    ids = {one["id"] for one in found["clauses"]}
    assert (code, found["exit_code"]) == (0, 0)
    assert {"train-starts", "train-succeeds"} <= ids
    assert sum(found["counts"].values()) == len(ids)
    cases = xml.parse(file).getroot().iter("testcase")
    assert {case.get("name") for case in cases} == ids


def test_the_list_of_clauses(byoc):
    code, out, _ = byoc("--list")
    assert code == 0
    assert "Training: the start" in out
    assert out.strip().endswith("clauses")
    code, rows, _ = byoc("--list", "--json", "--as", "training")
    assert {row["kind"] for row in json.loads(rows)} == {"image", "training"}
    code, out, _ = byoc("--list", "--only", "train-s*", "--skip", "should")
    assert code == 0
    assert "train-starts" in out
    assert "train-stops" not in out


def test_an_image_and_its_uri_in_ecr(byoc, cloud):
    engines.engine().build(GOOD, "penguin-good:1")
    code, out, _ = byoc("penguin-good:1", "--only", "image-tag")
    assert (code, "penguin-good:1 on process" in out) == (0, True)
    uri = cloud.push("penguin-good:1")
    code, out, _ = byoc(uri, "--only", "image-manifest")
    assert (code, f"{uri} on process: 1 kept" in out) == (0, True)
    code, _, err = byoc(uri.replace(":1", ":absent"), "--only", "image-manifest")
    assert code == 2
    assert "ECR does not show" in err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "Name an image or a folder to check"),
        (["never-built:1"], "There is no image never-built:1"),
        ([GOOD.parent], "has neither a Dockerfile nor a program `train` or `serve`"),
        ([GOOD, "--only", "absent-*"], "No clause is called 'absent-*'"),
        ([GOOD, "--skip", "absent"], "No clause is called 'absent'"),
        ([GOOD, "--training-data", "absent"], "--training-data absent is not there"),
        ([GOOD, "--payload", "absent.csv:text/csv"], "--payload absent.csv can't be read"),
        ([GOOD, "--payload", "rows.csv"], "is not FILE:CONTENT_TYPE"),
        ([GOOD, "--hyperparameters", "{"], "is neither JSON nor a file"),
        ([GOOD, "--hyperparameters", "absent.json"], "is neither JSON nor a file"),
        ([GOOD, "--hyperparameters", "[1]"], "is neither JSON nor a file"),
        ([GOOD, "--env", "NAME"], "is not NAME=VALUE"),
        ([GOOD, "--junit", "absent/report.xml"], "can't be written"),
    ],
)
def test_what_cannot_be_done_is_2_and_one_sentence(words, says, byoc):
    code, out, err = byoc(*words)
    assert (code, out) == (2, "")
    assert says in err
    assert err.strip().count("\n") == 0


def test_hyperparameters_are_strings(byoc, data, tmp_path):
    file = tmp_path / "hyperparameters.json"
    file.write_text('{"scale": 2}')
    words = ["--training-data", data, "--only", "train-hyperparameters-quoted"]
    for given in (file, '{"scale": 2.5}', '{"scale": "2"}'):
        code, out, _ = byoc(GOOD, *words, "--hyperparameters", given)
        assert code == 0, out
