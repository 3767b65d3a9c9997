"""The notebooks run, and say the same: here, and for another account and region."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import psutil
import pytest

from byoc import engines

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
SANITIZE = Path(__file__).with_name("sanitize.cfg")
HERE = {"account_id": "123456789012", "region": "us-east-1"}
THERE = {"account_id": "000012345678", "region": "eu-west-1"}
PROGRAMS = Path(sys.executable).parent


@pytest.fixture
def alone(tmp_path: Path) -> dict[str, str]:
    """An environment with a local AWS of its own; it must be gone when the test ends."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    environment |= {"BYOC_HOME": str(tmp_path / "home"), "MPLBACKEND": INLINE}
    yield environment
    subprocess.run([PROGRAMS / "byoc", "down"], env=environment, capture_output=True, check=True)
    for process in psutil.process_iter(["cmdline"]):
        assert str(tmp_path) not in " ".join(process.info["cmdline"] or [])


INLINE = "module://matplotlib_inline.backend_inline"


@pytest.mark.timeout(900)
def test_executing_again_gives_the_committed_outputs(alone):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull]
    command += ["--nbval", "--nbval-current-env", "--nbval-sanitize-with", SANITIZE]
    command += ["--nbval-cell-timeout", "180", *NOTEBOOKS]
    done = subprocess.run(command, env=alone, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


@pytest.mark.timeout(900)
def test_another_account_and_region_agree_with_the_committed_outputs(alone, tmp_path, masks):
    """With real images where an engine answers, so that both kinds say the same."""
    alone["BYOC_ENGINE"] = [engine.name for engine in engines.available()][:2][-1]
    parameters = ["--account-id", THERE["account_id"], "--region", THERE["region"]]
    command = [PROGRAMS / "byoc", "run", "--output", tmp_path / "out", *parameters]
    done = subprocess.run(command, env=alone, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.split() == [str(tmp_path / "out" / path.name) for path in NOTEBOOKS]
    for path in NOTEBOOKS:
        ours, theirs = outputs(path), outputs(tmp_path / "out" / path.name)
        assert ours.keys() == theirs.keys(), path.name
        for cell, text in theirs.items():
            for name, value in THERE.items():
                text = text.replace(value, HERE[name])
            assert masked(text, masks) == masked(ours[cell], masks), f"{path.name}, cell {cell}"


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


@pytest.mark.parametrize("name", ["03-training", "04-inference", "07-releasing", "09-privacy"])
def test_a_missing_predecessor_stops_with_one_sentence(alone, tmp_path, name):
    notebook = ROOT / f"notebooks/{name}.ipynb"
    command = [PROGRAMS / "byoc", "run", "--output", tmp_path / "out", notebook]
    done = subprocess.run(command, env=alone, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert re.search(rf"{name}\.ipynb failed in cell \d+ \(ByocError: There is no ", done.stderr)
    assert re.search(r"run notebooks/\d\d-[a-z]+\.ipynb first", done.stderr)
    assert (tmp_path / "out" / notebook.name).is_file()


def outputs(path: Path) -> dict[str, str]:
    """The text that each cell printed or showed, by cell id."""
    cells = nbformat.read(path, as_version=4).cells
    texts = {}
    for cell in cells:
        if cell.cell_type == "code" and "injected-parameters" not in cell.metadata.get("tags", []):
            texts[cell.id] = "".join(
                output.get("text") or output.get("data", {}).get("text/plain", "")
                for output in cell.outputs
            )
    return texts


def masked(text: str, masks: list[tuple[re.Pattern[str], str]]) -> str:
    for pattern, replacement in masks:
        text = pattern.sub(replacement, text)
    return text
