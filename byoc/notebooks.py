"""Notebooks executed in order with papermill, and made the same bytes for the same results."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import nbformat
import papermill
from papermill.exceptions import PapermillExecutionError
from tqdm import tqdm

from byoc.errors import ByocError

VOLATILE = ("execution", "papermill")  # metadata that changes with every run


def run_all(paths: Sequence[Path], output: Path, parameters: Mapping[str, str]) -> Iterator[Path]:
    """Execute the notebooks in order, each in its own folder's place; yields each result's path.

    Stops at the first that fails: a ByocError names it, its output with the error is kept.
    """
    output.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    bar = tqdm(paths, unit="notebook", leave=True)
    for path in bar:
        bar.set_description(path.stem)
        try:
            unknown = set(parameters) - set(papermill.inspect_notebook(str(path)))
        except Exception as error:
            raise ByocError(f"{path.name} is not a notebook that can be run: {error}") from None
        if unknown:
            names = ", ".join(sorted(unknown))
            raise ByocError(f"{path.name} has no parameter {names}: add it to its parameters cell.")
        target = output / path.name
        os.environ["AWS_SDK_UA_APP_ID"] = path.stem[:50]  # which CloudTrail then shows
        try:
            papermill.execute_notebook(
                str(path),
                str(target),
                parameters=dict(parameters),
                cwd=str(path.parent),
                kernel_name="python3",
                progress_bar=False,
                extra_arguments=["--log-level=CRITICAL"],  # the kernel's own chatter
            )
        except PapermillExecutionError as error:
            bar.close()
            reason = f"{error.ename}: {error.evalue}" if error.evalue else error.ename
            raise ByocError(
                f"{path.name} failed in cell {error.exec_count} ({reason}); see {target}."
            ) from None
        yield target


def normalise(path: Path) -> None:
    """Remove from an executed notebook what differs between two runs with the same results.

    The injected parameters, execution metadata and counts of seconds go; cells and outputs stay.
    """
    notebook = nbformat.read(path, as_version=4)
    notebook.cells = [
        cell
        for cell in notebook.cells
        if "injected-parameters" not in cell.metadata.get("tags", [])
    ]
    notebook.metadata.pop("papermill", None)
    notebook.metadata.get("language_info", {}).pop("version", None)
    for cell in notebook.cells:
        for name in VOLATILE:
            cell.metadata.pop(name, None)
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        normalise(Path(name))
