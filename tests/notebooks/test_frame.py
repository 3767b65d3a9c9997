"""Every notebook has the same frame, short cells, and outputs that fit every reader."""

import ast
import base64
import re
import statistics
import subprocess
import sys
from pathlib import Path

import papermill

HEADINGS = ("Break it on purpose", "Exercises", "Quiz", "Take-aways", "Where to next")
PARAMETERS = {"target", "account_id", "region", "project"}


def test_the_frame_is_complete_and_in_order(notebook):
    text = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    assert text.startswith("# ")
    places = [text.find("You will be able to"), text.find("⏱"), text.find("💲")]
    places += [text.find(f"## {heading}") for heading in HEADINGS]
    assert -1 not in places, places
    assert places[3:] == sorted(places[3:])


def test_take_aways_mirror_the_objectives(notebook):
    text = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    objectives = bullets(text, "You will be able to")
    assert 3 <= len(objectives) <= 5
    assert len(bullets(text, "## Take-aways")) == len(objectives)


def test_the_parameters_are_strings_with_help_texts(path):
    parameters = papermill.inspect_notebook(str(path))
    assert set(parameters) == PARAMETERS
    for name, parameter in parameters.items():
        assert parameter["inferred_type_name"] == "str", name
        assert parameter["help"], name


def test_cells_are_short(notebook):
    lengths = [len(c.source.splitlines()) for c in notebook.cells if c.cell_type == "code"]
    assert statistics.median(lengths) <= 4
    assert statistics.quantiles(lengths, n=10)[-1] <= 10
    assert max(lengths) <= 20


def test_paragraphs_are_short_and_at_least_as_many_as_cells(notebook):
    words = [len(c.source.split()) for c in notebook.cells if c.cell_type == "markdown"]
    assert len(words) >= sum(c.cell_type == "code" for c in notebook.cells)
    assert statistics.median(words) <= 60


def test_most_cells_show_something(notebook):
    cells = [c for c in notebook.cells if c.cell_type == "code"]
    assert sum(bool(c.outputs) for c in cells) >= 0.8 * len(cells)


def test_no_cell_but_connect_asks_for_the_target(notebook):
    for cell in notebook.cells:
        if cell.cell_type == "code" and "parameters" not in cell.metadata.get("tags", []):
            names = {
                n.id for n in ast.walk(ast.parse(plain(cell.source))) if isinstance(n, ast.Name)
            }
            assert "target" not in names or "connect(target" in cell.source, cell.id
            assert not re.search(r"localhost|127\.0\.0\.1:\d|moto|endpoint_url", cell.source), (
                cell.id
            )


def test_every_figure_has_an_alternative_text(notebook):
    for cell in notebook.cells:
        if any("image/png" in o.get("data", {}) for o in cell.get("outputs", [])):
            image = cell.metadata.get("mystnb", {}).get("image", {})
            assert len(image.get("alt", "")) >= 20, cell.id


def test_every_exercise_has_a_solution(notebook):
    text = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    exercises = text.partition("## Exercises")[2].partition("## Quiz")[0]
    assert 2 <= exercises.count("<summary>Solution</summary>") <= 3


def test_outputs_hold_nothing_of_the_machine(notebook):
    banned = [str(Path.home()), str(Path(__file__).parents[2]), "/tmp/", "/site-packages"]
    banned += ["Warning:", "Traceback", " at 0x"]
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            text = output.get("text") or str(output.get("data", {}).get("text/plain", ""))
            text += str(output.get("data", {}).get("text/html", ""))
            assert not [word for word in banned if word in text], cell.id
            assert not re.search(r"127\.0\.0\.1:\d+|localhost:\d+", text), cell.id
            assert output.get("name") != "stderr", cell.id
            assert output.output_type != "error", cell.id


def test_figures_are_small(notebook):
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            png = output.get("data", {}).get("image/png", "")
            assert len(base64.b64decode(png)) < 150_000, cell.id


def test_committed_notebooks_are_normalised(path, tmp_path):
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    subprocess.run([sys.executable, "-m", "byoc.notebooks", copy], check=True)
    assert copy.read_bytes() == path.read_bytes()


def bullets(text: str, heading: str) -> list[str]:
    """The list under a heading or lead-in."""
    lines = text.partition(heading)[2].splitlines()[1:]
    found = []
    for line in lines:
        if re.match(r"[-*] ", line):
            found.append(line)
        elif found and line.strip() and not line.startswith(" "):
            break
    return found


def plain(source: str) -> str:
    """Without IPython's shell lines."""
    return "\n".join(
        "pass" if line.lstrip().startswith(("!", "%")) else line for line in source.splitlines()
    )
