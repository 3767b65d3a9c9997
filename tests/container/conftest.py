"""The programs under test, the image of them, the penguins, and a temporary /opt/ml to run in."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings

CONTAINER = Path(__file__).resolve().parents[2] / "container"
sys.path[:0] = [str(CONTAINER), str(Path(__file__).parent)]  # the programs, and running.py
settings.register_profile("quiet", deadline=None, database=None, derandomize=True)
settings.load_profile("quiet")

HEADER = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g", "species"]


def child_environment(base, **variables):
    """As the platform's: none of the toolkit's SM_* variables. With bytecode, which is faster."""
    ours = ("SM_", "SAGEMAKER_", "PYTHONDONTWRITEBYTECODE", "MAX_PAYLOAD_MB")
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(ours)},
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "SAGEMAKER_BASE_DIR": str(base),
        **variables,
    }


class OptML:
    """A folder laid out as /opt/ml, and the real `train` in it."""

    def __init__(self, base):
        self.base = base
        self.model, self.output = base / "model", base / "output"
        self.config("hyperparameters", {})

    def config(self, name, content):
        path = self.base / "input/config" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))

    def channel(self, name, **files):
        for file, content in files.items():
            path = self.base / "input/data" / name / f"{file.replace('__', '/')}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def start(self, program="train", folder=CONTAINER, options=(), **variables):
        return subprocess.Popen(
            [folder / program, *options],
            env=child_environment(self.base, **variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def train(self, **variables):
        process = self.start(**variables)
        output, _ = process.communicate(timeout=120)
        return process.returncode, output

    def failure(self):
        return (self.output / "failure").read_text()

    def metrics(self):
        return json.loads((self.output / "data/metrics.json").read_text())


@pytest.fixture
def ml(tmp_path, monkeypatch):
    """An empty /opt/ml; `contract` in this process looks there too."""
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path / "ml"))
    return OptML(tmp_path / "ml")


@pytest.fixture(scope="session")
def penguins():
    """The rows that have all measurements, as text: four numbers and the species."""
    with (resources.files("palmerpenguins") / "data/penguins.csv").open() as file:
        rows = [[row[name] for name in HEADER] for row in csv.DictReader(file)]
    return [row for row in rows if not {"", "NA"} & set(row)]


@pytest.fixture(scope="session")
def table(penguins):
    """training_data.csv."""
    return "".join(",".join(row) + "\n" for row in [HEADER, *penguins])


@pytest.fixture(scope="session")
def trained(tmp_path_factory, table):
    """/opt/ml after a training job on the penguins."""
    ml = OptML(tmp_path_factory.mktemp("trained") / "ml")
    ml.channel("training", training_data=table)
    code, ml.log = ml.train()
    assert code == 0, ml.log
    return ml


class Docker:
    """A container engine's command line, and what `container/` is built on there."""

    def __init__(self, program):
        self.program = program
        pinned = re.search(r"ARG BASE=(\S+)", (CONTAINER / "Dockerfile").read_text())[1]
        bare = re.sub(r"(:\d+\.\d+)\.\d+", r"\1", pinned.partition("@")[0])  # no patch version
        self.bases = [os.environ.get("BYOC_BASE"), pinned, bare]

    def __call__(self, *words, check=True):
        """Run a command of the engine; returns what it wrote, both streams in one."""
        done = subprocess.run(
            [self.program, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert done.returncode == 0 or not check, done.stdout
        return done.stdout.strip()

    def inspect(self, name):
        return json.loads(self("inspect", name))[0]

    def base(self):
        """The pinned base; where it can't be had, its name without digest and patch version."""
        for name in filter(None, self.bases):
            for look in (("image", "inspect"), ("pull", "--quiet")):
                done = subprocess.run([self.program, *look, name], capture_output=True)
                if done.returncode == 0:
                    return name
        raise AssertionError(f"none of these bases can be had: {self.bases}")

    def build(self, folder, tag, *options):
        options = ["--platform=linux/amd64", f"--build-arg=BASE={self.base()}", *options]
        return self("build", *options, f"--tag={tag}", str(folder))

    @contextmanager
    def running(self, image, program, *options):
        """A container in the background, removed afterwards."""
        name = self("run", "--detach", *options, image, program).splitlines()[-1]
        try:
            yield name
        finally:
            self("rm", "--force", name, check=False)

    def python(self, name, program):
        """Run a program as root in a container; returns what it printed."""
        return self("exec", "--user=0", name, "python", "-c", program)


@pytest.fixture(scope="session")
def docker():
    """The first engine that answers."""
    for program in ("docker", "podman", "finch"):
        answers = (
            shutil.which(program)
            and not subprocess.run([program, "version"], capture_output=True).returncode
        )
        if answers:
            return Docker(program)
    pytest.skip("no container engine answers: docker, podman, finch")


@pytest.fixture(scope="session")
def image(docker, tmp_path_factory):
    """The name of the image of `container/`, built once for all workers."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    with FileLock(folder / "image.lock"):
        docker.build(CONTAINER, "byoc-tests/penguins:1")
    return "byoc-tests/penguins:1"


@pytest.fixture
def monitoring(ml, trained):
    """A processing job of `monitor` for the penguins' model."""
    from monitoring import Monitoring

    return Monitoring(ml, trained.model)
