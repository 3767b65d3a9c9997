"""The notebooks say the same for another account and region."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from byoc import engines

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
HERE = {"account_id": "123456789012", "region": "us-east-1"}
THERE = {"account_id": "000012345678", "region": "eu-west-1"}
PROGRAMS = Path(sys.executable).parent


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
