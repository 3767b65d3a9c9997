"""The rivals: what their images are made of, and the bodies they are asked with."""

import csv
import json
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from rivals import OURS, RIVALS, Ask, Rival, csv_body, instances, named_rows, v2

HERE = OURS.folder.parent / "bench/rivals"
FOLDERS = sorted({rival.folder for rival in RIVALS if rival.folder.parent == HERE})
PROGRAMS = sorted(
    path
    for folder in FOLDERS
    for path in folder.iterdir()
    if path.suffix == ".py" or path.name in ("serve", "train")
)
ROWS = [[39.1, 18.7, 181.0, 3750.0], [46.1, 13.2, 211.0, 4500.0], [46.5, 17.9, 192.0, 3500.0]]
BY_FOLDER = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
BY_RIVAL = pytest.mark.parametrize("rival", RIVALS, ids=lambda rival: rival.name)


def requirements(text: str) -> list[Requirement]:
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [Requirement(line) for line in lines if line]


def locked(folder: Path) -> dict[str, tuple[Requirement, list[str]]]:
    """What requirements.txt installs: each package's pin and hashes."""
    lines = (folder / "requirements.txt").read_text().replace("\\\n", " ").splitlines()
    pins = {}
    for line in lines:
        pin, *hashes = line.split("--hash=")
        requirement = Requirement(pin.strip())
        pins[canonicalize_name(requirement.name)] = requirement, [word.strip() for word in hashes]
    return pins


def test_every_folder_belongs_to_a_rival():
    assert {path for path in HERE.iterdir() if path.is_dir()} == set(FOLDERS)


@BY_FOLDER
def test_every_image_stands_on_the_base_that_the_bench_names(folder):
    code = [
        line
        for line in (folder / "Dockerfile").read_text().splitlines()
        if not line.startswith("#")
    ]
    assert code[0].startswith("ARG BASE=python:3.12-slim")
    assert code[1] == "FROM ${BASE}"
    installs = [line for line in code if "pip install" in line]
    assert "--require-hashes -r requirements.txt" in installs[0]
    assert all("--no-deps" in line for line in installs[1:])


@BY_FOLDER
def test_packages_are_locked_with_hashes_at_versions_that_were_asked_for(folder):
    pins = locked(folder)
    for requirement, hashes in pins.values():
        assert [word.operator for word in requirement.specifier] == ["=="], requirement
        assert hashes, requirement
        assert all(word.startswith("sha256:") for word in hashes), requirement
    for asked in requirements((folder / "requirements.in").read_text()):
        version = next(iter(pins[canonicalize_name(asked.name)][0].specifier)).version
        assert version in asked.specifier, asked


@BY_FOLDER
def test_all_load_the_model_with_the_versions_that_wrote_it(folder):
    pins = locked(folder)
    assert str(pins["scikit-learn"][0].specifier) == "==1.7.2"
    assert str(pins["numpy"][0].specifier) == "==2.3.5"


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_programs_compile(path):
    assert compile(path.read_text(encoding="utf-8"), path, "exec")


@BY_FOLDER
def test_settings_are_json(folder):
    for path in folder.glob("*.json"):
        assert isinstance(json.loads(path.read_text()), dict), path


@BY_RIVAL
def test_a_rival_says_how_it_is_started_and_asked(rival: Rival):
    assert (rival.folder / "Dockerfile").is_file()
    assert rival.ping.startswith("/")
    assert all(isinstance(value, str) for value in rival.environment(2).values())
    asks = [ask for ask in (rival.csv, rival.json) if ask]
    assert asks
    assert all(ask.path.startswith("/") for ask in asks)


def test_names_differ():
    assert len({rival.name for rival in RIVALS}) == len(RIVALS)
    assert len({rival.title for rival in RIVALS}) == len(RIVALS)


def rows_of(ask: Ask, body: bytes) -> list[list[float]]:
    """The rows that a server of this format reads."""
    if ask.body is csv_body:
        return [[float(cell) for cell in row] for row in csv.reader(body.decode().splitlines())]
    document = json.loads(body)
    if ask.body is instances:
        return document["instances"]
    if ask.body is named_rows:
        return document["rows"]
    assert ask.body is v2
    (tensor,) = document["inputs"]
    assert tensor["datatype"] == "FP64"
    count, width = tensor["shape"]
    assert len(tensor["data"]) == count * width
    return [tensor["data"][i : i + width] for i in range(0, count * width, width)]


@pytest.mark.parametrize("rows", [ROWS[:1], ROWS], ids=["one", "many"])
@BY_RIVAL
def test_bodies_hold_the_rows(rival: Rival, rows):
    for ask, content_type in ((rival.csv, "text/csv"), (rival.json, "application/json")):
        if ask:
            assert ask.content_type == content_type
            assert rows_of(ask, ask.body(rows)) == rows
