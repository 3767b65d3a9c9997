"""The notebooks, and what of their outputs is compared."""

import configparser
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import psutil
import pytest

ROOT = Path(__file__).parents[2]
INLINE = "module://matplotlib_inline.backend_inline"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "path" in metafunc.fixturenames:
        metafunc.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.fixture
def notebook(path: Path) -> nbformat.NotebookNode:
    """One committed notebook."""
    return nbformat.read(path, as_version=4)


@pytest.fixture(scope="session")
def masks() -> list[tuple[re.Pattern[str], str]]:
    """The masks of sanitize.cfg, in order."""
    parser = configparser.RawConfigParser()
    parser.read(Path(__file__).with_name("sanitize.cfg"), encoding="utf-8")
    sections = [parser[name] for name in parser.sections()]
    return [(re.compile(s["regex"]), s["replace"]) for s in sections]


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment with a local AWS of its own; it must be gone when the test ends."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    environment |= {"BYOC_HOME": str(tmp_path / "home"), "MPLBACKEND": INLINE}
    yield environment
    subprocess.run(
        [Path(sys.executable).with_name("byoc"), "down"],
        env=environment,
        capture_output=True,
        check=True,
    )
    for process in psutil.process_iter(["cmdline"]):
        assert str(tmp_path) not in " ".join(process.info["cmdline"] or [])
