"""What an interrupted job goes on from: SageMaker keeps this folder in S3, and lays it out again.

Source: SageMaker Developer Guide, model-checkpoints.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import contract


def save(step: int, write: Callable[[Path], None]) -> None:
    """Let `write` fill a folder for this step; of those before only the last stays.

    Nothing happens where the job has no CheckpointConfig, and so no folder for checkpoints.
    """
    folder = contract.checkpoint_dir()
    if not folder.is_dir():
        return
    kept, whole = steps(), own(folder) / f"step-{step:04}"
    draft = whole.with_name(f".{whole.name}")  # gets its name when it is whole
    shutil.rmtree(draft, ignore_errors=True)
    shutil.rmtree(whole, ignore_errors=True)
    draft.mkdir(parents=True)
    write(draft)
    draft.rename(whole)
    for old in kept[1:]:
        shutil.rmtree(old)


def steps() -> list[Path]:
    """The folders of the steps that were saved, the last one first."""
    return sorted(own(contract.checkpoint_dir()).glob("step-*"), reverse=True)


def own(folder: Path) -> Path:
    """A folder for each host: what all write ends in one place in S3."""
    return folder / f"host-{contract.rank() + 1}"
