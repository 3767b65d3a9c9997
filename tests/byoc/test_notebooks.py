"""Notebooks executed in order, and made comparable."""

import nbformat
import pytest

from byoc import ByocError
from byoc.notebooks import normalise, run_all

KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
PARAMETERS = 'account_id: str = "123456789012"  # twelve digits'


@pytest.fixture
def notebook(tmp_path):
    """Write a notebook of code cells, the first with its parameters."""

    def write(name, *sources):
        made = nbformat.v4.new_notebook(metadata=KERNEL)
        first = nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
        made.cells = [first, *map(nbformat.v4.new_code_cell, sources)]
        path = tmp_path / "source" / name
        path.parent.mkdir(exist_ok=True)
        nbformat.write(made, path)
        return path

    return write


def printed(path):
    cells = nbformat.read(path, as_version=4).cells
    return "".join(o.get("text", "") for c in cells for o in c.get("outputs", []))


@pytest.mark.parametrize("text", ["no JSON", "{}", '{"cells": [], "metadata": {}, "nbformat": 4}'])
def test_what_is_no_notebook_is_named(tmp_path, text):
    path = tmp_path / "broken.ipynb"
    path.write_text(text)
    with pytest.raises(ByocError, match=r"broken\.ipynb"):
        list(run_all([path], tmp_path / "out", {}))


def test_they_run_in_order_in_their_folder_with_the_parameters(notebook, tmp_path):
    first = notebook("1.ipynb", "open('left.txt', 'w').write(account_id)")
    second = notebook("2.ipynb", "print(open('left.txt').read())")
    results = run_all([first, second], tmp_path / "out", {"account_id": "000012345678"})
    assert list(results) == [tmp_path / "out/1.ipynb", tmp_path / "out/2.ipynb"]
    assert printed(tmp_path / "out/2.ipynb") == "000012345678\n"
    assert PARAMETERS in second.read_text().replace('\\"', '"')  # the source is left as it was


def test_the_first_that_fails_is_named_and_kept(notebook, tmp_path):
    good = notebook("1.ipynb", "print('good')")
    bad = notebook("2.ipynb", "print('so far')", "raise ValueError('broken')")
    after = notebook("3.ipynb", "print('never')")
    results = run_all([good, bad, after], tmp_path / "out", {"account_id": "1"})
    assert next(results) == tmp_path / "out/1.ipynb"
    with pytest.raises(ByocError, match=r"2\.ipynb failed in cell \d+ \(ValueError: broken\)"):
        next(results)
    assert "so far" in printed(tmp_path / "out/2.ipynb")
    assert not (tmp_path / "out/3.ipynb").exists()


def test_a_parameter_that_a_notebook_lacks_is_named(notebook, tmp_path):
    results = run_all([notebook("1.ipynb")], tmp_path / "out", {"account_id": "1", "region": "x"})
    with pytest.raises(ByocError, match=r"1\.ipynb has no parameter region: add it"):
        next(results)


def test_two_runs_are_the_same_bytes_once_normalised(notebook, tmp_path):
    source = notebook("1.ipynb", "print(1 + 1)")
    contents = []
    for name in ("one", "two"):
        (path,) = run_all([source], tmp_path / name, {"account_id": "000012345678"})
        normalise(path)
        contents.append(path.read_bytes())
    assert contents[0] == contents[1]
    assert b"000012345678" not in contents[0]
    assert printed(path) == "2\n"
