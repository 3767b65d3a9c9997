"""Each rung of the ladder as a process: it serves the model, and is small."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import model
import pytest
import rungs
import urllib3
from rivals import CSV

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 90  # seconds until a server must answer
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The model in every format, ours made by the real `train`."""

    def run(ml):
        environment = {**os.environ, "SAGEMAKER_BASE_DIR": str(ml)}
        program = [sys.executable, ROOT / "container/train"]
        subprocess.run(program, env=environment, check=True, capture_output=True)

    return model.train(run, tmp_path_factory.mktemp("ladder") / "ml")


@pytest.fixture
def serve(folder):
    """Start a rung's command on a free port; returns its address once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []

    def start(rung):
        program, *rest = [word.replace("8080", str(port)) for word in rung.command]
        environment = {**os.environ, "SM_MODEL_DIR": str(folder)}
        process = subprocess.Popen([BIN / program, *rest], cwd=rungs.FOLDER, env=environment)
        started.append(process)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and process.poll() is None:
            try:
                address = f"http://127.0.0.1:{port}"
                if urllib3.request("GET", f"{address}/ping", retries=False).status == 200:
                    return address
            except urllib3.exceptions.HTTPError:
                time.sleep(0.05)
        raise AssertionError(f"{rung.title} does not answer: exit code {process.poll()}")

    yield start
    for process in started:
        process.terminate()
        process.wait(30)


@pytest.mark.parametrize("rung", rungs.RUNGS, ids=lambda rung: rung.title)
def test_a_rung_answers_as_the_model_does(serve, rung):
    address = serve(rung)
    rows = model.penguins()[0]
    headers = {"Content-Type": "text/csv"}
    for part in (rows[:1], rows):
        answer = urllib3.request(
            "POST", f"{address}/invocations", body=CSV.body(part), headers=headers
        )
        assert answer.status == 200
        assert answer.data.decode().splitlines() == list(model.fit().predict(part))
    assert urllib3.request("GET", f"{address}/elsewhere").status == 404


def test_every_file_is_small():
    for path in rungs.FOLDER.glob("*.py"):
        assert len(path.read_text().splitlines()) <= 30, path.name


def test_what_a_rung_installs_shrinks_with_its_imports():
    usual, without_pandas, own_tree = (rungs.needed(rungs.RUNGS[n].packages) for n in (1, 2, 3))
    assert usual > without_pandas > own_tree
    assert "pandas" not in without_pandas
    assert not {"scikit-learn", "scipy", "joblib"} & own_tree
