"""The book's figures, from small records."""

import json

import figures
import pytest

from byoc import plots

SPREAD = {"median": 100.0}
RIGHT = dict.fromkeys(("rate", "p50", "p99", "cpu"), SPREAD) | {"errors": {}}
SERVING = {
    "titles": {"ours": "ours", "tutorial": "the usual tutorial", "bentoml": "BentoML"},
    "throughput": {
        "csv": {"ours": RIGHT, "tutorial": RIGHT, "constant": RIGHT},
        "json": {"ours": RIGHT, "bentoml": RIGHT | {"errors": {"read": 3}}},
    },
}
RUNG = {**RIGHT, "start": SPREAD, "memory": 2**20, "installed": 1e6, "title": "without pandas"}
POINTS = [
    {"x": x, "rate": 1000.0, "p50": 1.0, "p99": 2.0, "memory": 2**25, "bytes": 27} for x in (1, 8)
]
CURVES = {
    "titles": {"ours": "ours"},
    "curves": {name: {"ours": [*POINTS, {"x": 9, "errors": {}}]} for name in plots.AXES},
}


@pytest.fixture
def records(tmp_path):
    for name, record in {"serving": SERVING, "rungs": {"rungs": {"rung1": RUNG}}}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
    (tmp_path / "curves.json").write_text(json.dumps(CURVES))
    return tmp_path


def test_every_figure_twice_the_same(records):
    first = figures.draw(records, records / "first")
    second = figures.draw(records, records / "second")
    names = {"rivals", "ladder", *plots.AXES}
    assert {path.name for path in first} == {f"performance-{name}.svg" for name in names}
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_a_server_with_errors_has_no_bar(records):
    rivals = next(p for p in figures.draw(records, records / "figures") if "rivals" in p.name)
    text = rivals.read_text()
    assert "the usual tutorial" in text
    assert "BentoML" not in text


def test_what_was_not_measured_is_not_drawn(records):
    (records / "curves.json").unlink()
    assert len(figures.draw(records, records / "figures")) == 2
