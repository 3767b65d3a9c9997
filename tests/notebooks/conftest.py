"""The notebooks, and what of their outputs is compared."""

import configparser
import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
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
