"""The image of `container/`: what is in it, and that it runs as SageMaker runs it and stricter."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from .conftest import CONTAINER, Docker

ROOT = CONTAINER.parent
LIMIT = 340e6  # bytes; the usual tutorial's image has 472 MB on the same base
HARDENED = [
    "--read-only",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--network=none",
    "--tmpfs=/tmp",
]
NOBODY = 65534

PING = """\
import urllib.request, time
for _ in range(600):
    try:
        print(urllib.request.urlopen("http://127.0.0.1:8080/ping").status)
        break
    except OSError:
        time.sleep(0.1)
"""

# Of each process but this one: its number, and the users, groups and other groups it has.
PROCESSES = r"""
import glob, json, os, re
found = {}
for path in glob.glob("/proc/[0-9]*/status"):
    try:
        text = open(path).read()
    except OSError:
        continue
    if path != f"/proc/{os.getpid()}/status":
        ids = re.findall(r"^(?:Uid|Gid|Groups):(.*)", text, re.M)
        found[path.split("/")[2]] = [sorted(set(map(int, line.split()))) for line in ids]
print(json.dumps(found))
"""

CONTENT = r"""
import importlib.metadata, importlib.util, json, os, pathlib, shutil
venv, program = pathlib.Path("/opt/venv"), pathlib.Path("/opt/program")
sources = [p for p in venv.rglob("*.py") if p.parent.name != "bin"] + list(program.glob("*.py"))
print(json.dumps({
    "pip": [shutil.which("pip"), shutil.which("pip3"), bool(importlib.util.find_spec("pip"))],
    "tests": [str(p) for p in venv.rglob("*") if p.name in ("test", "tests")],
    "slow": [str(p) for p in sources
             if not pathlib.Path(importlib.util.cache_from_source(str(p))).exists()],
    "others": [str(p) for p in pathlib.Path("/opt").rglob("*")
               if (p.lstat().st_uid, p.lstat().st_gid) != (0, 0) or p.lstat().st_mode & 0o22 and not
               p.is_symlink()],
    "modes": {p.name: oct(p.stat().st_mode & 0o777) for p in program.iterdir()},
    "crlf": [p.name for p in program.iterdir() if p.is_file() and b"\r" in p.read_bytes()],
    "found": [shutil.which(name) for name in ("train", "serve", "monitor")],
    "ml": os.path.exists("/opt/ml"),
    "packages": {d.name.lower(): d.version for d in importlib.metadata.distributions()},
}))
"""


@pytest.fixture(scope="module")
def content(docker, image):
    return json.loads(docker("run", "--rm", image, "python", "-c", CONTENT))


@pytest.fixture(scope="module")
def config(docker, image):
    return docker.inspect(image)["Config"]


def test_the_linter_finds_nothing():
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, CONTAINER / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_base_is_pinned_by_version_and_digest():
    base = re.search(r"^ARG BASE=(.*)", (CONTAINER / "Dockerfile").read_text(), re.M)[1]
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", base)


def test_only_what_the_image_needs_is_sent_to_the_builder():
    ignored = (CONTAINER / ".dockerignore").read_text().split()
    assert ignored[ignored.index("*") :] == [
        "*",
        "!requirements.txt",
        "!train",
        "!serve",
        "!monitor",
        "!*.py",
    ]


def test_the_size(docker, image):
    assert docker.inspect(image)["Size"] <= LIMIT


def test_the_labels_are_true(docker, config):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    labels = {name.rpartition(".image.")[2]: text for name, text in config["Labels"].items()}
    assert labels["version"] == project["version"]
    assert labels["licenses"] == project["license"]
    assert labels["base.name"] == docker.base()
    assert labels["title"]
    assert labels["description"]
    # One model or many, at the port that it is told.
    platforms = {name: text for name, text in labels.items() if "sagemaker" in name}
    capabilities = "com.amazonaws.sagemaker.capabilities"
    assert platforms == {
        f"{capabilities}.accept-bind-to-port": "true",
        f"{capabilities}.multi-models": "true",
    }


def test_it_starts_as_root_with_no_entrypoint(docker, image, config):
    assert (config.get("User") or "", config.get("Entrypoint") or []) == ("", [])
    assert docker.inspect(image)["Architecture"] == "amd64"


def test_neither_pip_nor_tests_and_nothing_at_opt_ml(content):
    assert content["pip"] == [None, None, False]
    assert content["tests"] == []
    assert not content["ml"]


def test_all_bytecode_is_there(content):
    assert content["slow"] == []


def test_programs_are_found_executable_and_only_root_may_change_them(content):
    assert content["found"] == [f"/opt/program/{name}" for name in ("train", "serve", "monitor")]
    modes = content["modes"]
    assert {modes.pop(name) for name in ("train", "serve", "monitor", "__pycache__")} == {"0o755"}
    assert set(modes.values()) == {"0o644"}
    assert content["others"] == []
    assert content["crlf"] == []


def test_the_packages_are_those_of_the_lock(content):
    entries = re.split(r"\n(?=\S)", (CONTAINER / "requirements.txt").read_text().strip())
    locked = [Requirement(entry.split("\\")[0]) for entry in entries]
    environment = {"python_full_version": "3.12.0", "sys_platform": "linux"}
    wanted = {
        entry.name: str(entry.specifier).removeprefix("==")
        for entry in locked
        if entry.marker is None or entry.marker.evaluate(environment)
    }
    assert content["packages"] == wanted


def test_the_same_sources_give_the_same_layers(docker, image, tmp_path):
    """From another checkout, with other times and permissions, and nothing from a cache."""
    copy = tmp_path / "container"
    shutil.copytree(CONTAINER, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for path in copy.iterdir():
        path.chmod(0o700 if path.name in ("train", "serve", "monitor") else 0o600)
        os.utime(path, (10**9, 10**9))
    before = set(docker("images", "--all", "--quiet").split())
    log = docker.build(copy, "byoc-tests/again:1", "--no-cache")
    try:
        layers = [
            docker.inspect(name)["RootFS"]["Layers"] for name in (image, "byoc-tests/again:1")
        ]
        assert layers[0] == layers[1]
    finally:
        steps = set(re.findall(r"^ ---> ([0-9a-f]{12})$", log, re.M)) - before
        docker("image", "rm", "byoc-tests/again:1", check=False)
        for _ in range(2 if steps else 0):  # a stage's image can go when nothing is built on it
            docker("image", "rm", *steps, check=False)


def both_workers(docker, name):
    """gunicorn's three processes, once both workers have the user that they end with."""
    found = json.loads(docker.python(name, PROCESSES))
    users = [ids[0] for number, ids in found.items() if number != "1"]
    return found if len(users) == 2 and users[0] == users[1] else None


@pytest.mark.parametrize(
    ("options", "user"),
    [
        ([], NOBODY),
        (HARDENED, 0),
        ([*HARDENED, "--cap-add=SETUID", "--cap-add=SETGID"], 0),  # not all that gunicorn needs
        ([*HARDENED, *(f"--cap-add={c}" for c in ("CHOWN", "KILL", "SETGID", "SETUID"))], NOBODY),
        (["--user=1234:1234"], 1234),
        ([*HARDENED, "--user=1234:1234"], 1234),
    ],
    ids=["as-aws", "hardened", "two-capabilities", "four-capabilities", "user", "hardened-user"],
)
def test_serving(docker: Docker, image, trained, until, options, user):
    model = f"--volume={trained.model}:/opt/ml/model:ro"
    workers = "--env=SAGEMAKER_MODEL_SERVER_WORKERS=2"
    with docker.running(image, "serve", *options, model, workers) as name:
        assert docker.python(name, PING) == "200"
        processes = until(lambda: both_workers(docker, name))
        assert processes.pop("1")[0] == [0 if user == NOBODY else user]  # gunicorn's master
        for users, groups, others in processes.values():
            assert (users, groups) == ([user], [user])
            assert others in ([], [user])
        docker("stop", "--time=30", name)
        log = docker("logs", name)
        assert docker.inspect(name)["State"]["ExitCode"] == 0, log
        assert log == f"Serving on port 8080 with 2 workers as user {user}."


@pytest.mark.parametrize(
    "options", [HARDENED, [*HARDENED, "--user=1234:1234"]], ids=["hardened", "user"]
)
def test_training(docker: Docker, image, ml, table, options):
    ml.channel("training", rows=table)
    for folder in (ml.model, ml.output):
        folder.mkdir()
        folder.chmod(0o777)
    log = docker("run", "--rm", *options, f"--volume={ml.base}:/opt/ml", image, "train")
    assert "saved the model in /opt/ml/model" in log
    files = sorted(path.name for path in ml.model.iterdir())
    assert files == ["baseline.json", "metadata.json", "tree.npy"]


@pytest.mark.parametrize(
    "options", [HARDENED, [*HARDENED, "--user=1234:1234"]], ids=["hardened", "user"]
)
def test_monitoring(docker: Docker, image, monitoring, penguins, options):
    monitoring.capture(monitoring.asked([[float(cell) for cell in penguins[0][:4]]]))
    for folder in (monitoring.output, monitoring.base / "output"):
        folder.mkdir()
        folder.chmod(0o777)
    volume = f"--volume={monitoring.base}:/opt/ml"
    log = docker("run", "--rm", *options, volume, "--entrypoint=monitor", image)
    assert "Completed: no violations in 1 rows." in log
    assert len(list(monitoring.output.iterdir())) == 3


def test_training_is_stopped_and_keeps_its_model(docker: Docker, image, ml, table, until):
    ml.channel("training", rows=table)
    ml.config("hyperparameters", {"cv_repeats": "100000"})
    with docker.running(image, "train", f"--volume={ml.base}:/opt/ml") as name:
        until(lambda: "cv:accuracy" in docker("logs", name))
        docker("stop", "--time=120", name)
        assert docker.inspect(name)["State"]["ExitCode"] == 0
    assert (ml.model / "tree.npy").exists()
