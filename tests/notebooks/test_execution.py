"""Executed again, the notebooks say what they said; what is wrong stops them with one sentence."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
SANITIZE = Path(__file__).with_name("sanitize.cfg")
PROGRAMS = Path(sys.executable).parent


@pytest.mark.timeout(900)
def test_executing_again_gives_the_committed_outputs(alone):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull]
    command += ["--nbval", "--nbval-current-env", "--nbval-sanitize-with", SANITIZE]
    command += ["--nbval-cell-timeout", "180", *NOTEBOOKS]
    done = subprocess.run(command, env=alone, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("--account-id", "12345", "account_id is '12345': it must be a string of twelve digits."),
        ("--region", "mars-east-1", "region is 'mars-east-1': it is not a region"),
        ("--target", "azure", 'target is \'azure\': it must be "local" or "aws".'),
        ("--project", "My Project", "project is 'My Project': it must be lower-case"),
    ],
)
def test_a_wrong_value_stops_with_one_sentence(alone, tmp_path, name, value, sentence):
    command = [PROGRAMS / "byoc", "run", "--output", tmp_path / "out", name, value]
    done = subprocess.run(command, env=alone, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"byoc: {sentence}")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["03-training", "06-scaling", "08-monitoring", "09-privacy"])
def test_a_missing_predecessor_stops_with_one_sentence(alone, tmp_path, name):
    notebook = ROOT / f"notebooks/{name}.ipynb"
    command = [PROGRAMS / "byoc", "run", "--output", tmp_path / "out", notebook]
    done = subprocess.run(command, env=alone, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert re.search(rf"{name}\.ipynb failed in cell \d+ \(ByocError: There is no ", done.stderr)
    assert re.search(r"run notebooks/\d\d-[a-z]+\.ipynb first", done.stderr)
    assert (tmp_path / "out" / notebook.name).is_file()
