"""What holds for every file of the project."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from rattler import MatchSpec

ROOT = Path(__file__).parents[1]
PROGRAMS = Path(sys.executable).parent
FILES = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
).stdout.split()
TEXTS = [name for name in FILES if not name.endswith((".png", ".npy")) and (ROOT / name).is_file()]
REGISTRIES = re.compile(r"(//|@|host=.)([a-z0-9-]+\.)*(pypi|pythonhosted|debian|npmjs)\.[a-z]{2,3}")


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize(
    "command", [("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",)], ids=" ".join
)
def test_code_is_clean(command):
    done = run(PROGRAMS / command[0], *command[1:])
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_templates_are_clean():
    done = run(PROGRAMS / "cfn-lint", *sorted((ROOT / "infra").glob("*.yaml")))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_lock_is_that_of_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    direct = [*project["dependencies"], *(line for extra in extras for line in extra)]
    locked = (ROOT / "requirements.txt").read_text()
    for line in direct:
        name, _, version = line.partition("==")
        assert version, f"{line} is not pinned exactly"
        name = name.partition("[")[0].lower().replace("_", "-")
        assert re.search(rf"^{re.escape(name)}=={re.escape(version)}\b", locked, re.M), line


@pytest.mark.parametrize("name", ["requirements.txt", "container/requirements.txt"])
def test_every_locked_requirement_is_pinned_and_hashed(name):
    entries = re.split(r"\n(?=\S)", (ROOT / name).read_text().strip())
    assert [e for e in entries if "==" not in e or "--hash=sha256:" not in e] == []


def test_the_conda_environment_is_the_locked_one():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    specs = [line for line in environment["dependencies"] if isinstance(line, str)]
    names = {MatchSpec(spec).name.normalized for spec in specs}
    assert names == {"python", "pip"}
    pip = next(line["pip"] for line in environment["dependencies"] if isinstance(line, dict))
    assert pip == ["--requirement requirements.txt"]
    python = next(MatchSpec(s) for s in specs if s.startswith("python"))
    version = str(python.version).strip("=.*")
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    minimum = tuple(map(int, required.removeprefix(">=").split(".")))
    assert tuple(map(int, version.split("."))) >= minimum


def test_no_file_names_a_registry_or_a_path_of_a_machine():
    found = []
    for name in TEXTS:
        text = (ROOT / name).read_text()
        if REGISTRIES.search(text) or f"{ROOT}/" in text or f"{Path.home()}/" in text:
            found.append(name)
    assert found == []


def test_line_ends_are_lf_and_programs_are_executable():
    listed = run("git", "ls-files", "--eol", "container", "byoc", ".ci").stdout
    assert "crlf" not in listed
    modes = run(
        "git", "ls-files", "--stage", "container/train", "container/serve", ".ci/run"
    ).stdout
    assert [line.split()[0] for line in modes.splitlines()] == ["100755"] * 3


def test_no_large_file_and_no_uv_lock():
    assert [n for n in FILES if (ROOT / n).is_file() and (ROOT / n).stat().st_size > 2e6] == []
    assert "uv.lock" not in FILES
