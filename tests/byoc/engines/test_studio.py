"""Docker as Studio lets one use it: the real one behind a program that refuses as Studio does."""

import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from byoc import ByocError, engines, studio
from byoc.engines import ports
from byoc.optml import OptML

# Source of what is refused: Developer Guide, studio-updated-local.
PROXY = """\
#!{python}
import json, os, sys
arguments = sys.argv[1:]
with open({record!r}, "a") as record:
    record.write(json.dumps(arguments) + "\\n")
allowed = {{"version", "build", "run", "pull", "push", "login", "logout", "logs", "inspect", "wait",
           "kill", "rm", "ps", "stop", "start", "create"}}
two = arguments[:2] in (["image", "inspect"], ["image", "rm"])
if arguments[0] == "buildx" or (arguments[0] not in allowed and not two):
    sys.exit(f"Error response from daemon: {{arguments[0]}} is not supported in Studio")
if arguments[0] in ("build", "run"):
    place = arguments.index("--network") + 1 if "--network" in arguments else 0
    if not place or arguments[place] != "sagemaker":
        sys.exit("Error response from daemon: only the network sagemaker is supported")
    arguments[place] = "host"
    if {{"-p", "--publish", "--mount", "--privileged"}} & set(arguments):
        sys.exit("Error response from daemon: not supported in Studio")
os.environ.pop("DOCKER_HOST")
os.execv({real!r}, ["docker", *arguments])
"""


@pytest.fixture
def commands(docker_engine, docker_toy, tmp_path, monkeypatch):
    """What reaches Studio's Docker; the user's home is the test's folder."""
    if docker_engine.name != "docker":
        pytest.skip("Studio has docker")
    record, proxy = tmp_path / "record", tmp_path / "bin/docker"
    proxy.parent.mkdir()
    real = shutil.which("docker")
    proxy.write_text(PROXY.format(python=sys.executable, record=str(record), real=real))
    proxy.chmod(0o755)
    monkeypatch.setenv("PATH", f"{proxy.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BYOC_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("DOCKER_HOST", studio.PROXY)
    engines.engine("docker")

    def told(word):
        lines = [json.loads(line) for line in record.read_text().splitlines()]
        return [line for line in lines if line[0] == word]

    return told


def test_where_studio_is(monkeypatch, tmp_path):
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    metadata = tmp_path / "resource-metadata.json"
    monkeypatch.setattr(studio, "METADATA", metadata)
    assert not studio.in_studio()
    metadata.write_text('{"ResourceArn": "arn:aws:sagemaker:x:1:notebook-instance/n"}')
    assert not studio.in_studio()  # a notebook instance has all of Docker
    metadata.write_text('{"AppType": "JupyterLab", "DomainId": "d-1", "SpaceName": "s"}')
    assert studio.in_studio()
    metadata.unlink()
    monkeypatch.setenv("DOCKER_HOST", studio.PROXY)
    assert studio.in_studio()


def test_a_build_has_the_only_network_and_the_final_name(commands, docker_engine, toy_folder):
    tag = f"123456789012.dkr.ecr.eu-west-1.amazonaws.com/toy:{os.getpid()}"
    try:
        image = docker_engine.build(toy_folder, tag)
    finally:
        subprocess.run(["docker", "image", "rm", "--force", "--no-prune", tag], capture_output=True)
    (build,) = commands("build")
    assert build[build.index("--network") + 1] == "sagemaker"
    assert build[build.index("--tag") + 1] == image.tag == tag
    assert commands("tag") == []


def test_a_program_runs_in_a_folder_of_the_home(commands, docker_engine, docker_toy, tmp_path):
    ml = OptML.create(hyperparameters={})  # where it must be by itself
    assert ml.path.is_relative_to(tmp_path)
    with docker_engine.run(docker_toy, ["train"], ml=ml, read_only=["/opt/ml/input"]) as container:
        assert container.wait(60) == 0, container.log
    assert (ml.model / "model.txt").read_text() == "a model"
    (run,) = commands("run")
    volumes = [run[i + 1] for i, word in enumerate(run) if word == "--volume"]
    assert volumes == [f"{ml.path}:/opt/ml", f"{ml.path}/input:/opt/ml/input:ro"]
    elsewhere = OptML(Path("/tmp"))
    with pytest.raises(ByocError, match="/tmp can't be mounted in Studio, where only folders bel"):
        docker_engine.run(docker_toy, ["train"], ml=elsewhere)


def test_a_server_is_asked_at_port_8080(commands, docker_engine, docker_toy):
    environment = {"FIRST": "sys.exit(5)"}  # so that it does not take the machine's 8080
    with docker_engine.run(
        docker_toy, ["serve"], ml=OptML.create(), environment=environment
    ) as server:
        assert server.wait(60) == 5
    (run,) = commands("run")
    assert "--publish" not in run
    fixed = server.url == "http://localhost:8080"  # unless somebody has that port just now
    assert fixed != any(word.startswith("SAGEMAKER_BIND_TO_PORT=") for word in run)


def test_a_second_server_needs_the_label(commands, docker_engine, docker_toy, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as first:
        monkeypatch.setattr(ports, "SERVING_PORT", first.getsockname()[1])
        with docker_engine.run(docker_toy, ["serve"], ml=OptML.create()) as second:
            assert second.ready(60), second.log
        port = second.url.rpartition(":")[2]
        assert f"SAGEMAKER_BIND_TO_PORT={port}" in commands("run")[0]
        unlabelled = dataclasses.replace(docker_toy, labels={})
        with pytest.raises(ByocError, match=r"in use.*label the image"):
            docker_engine.run(unlabelled, ["serve"], ml=OptML.create())


def test_what_studio_does_not_have_is_said(cloud, commands, docker_engine, docker_toy, tmp_path):
    assert not docker_engine.has_networks()
    with pytest.raises(ByocError, match="has no networks: several hosts can't run"):
        docker_engine.network(["algo-1", "algo-2"])
    with pytest.raises(ByocError, match="does not tell an image's layers"):
        docker_engine.layers(docker_toy)
    host = f"{cloud.account}.dkr.ecr.us-east-1.amazonaws.com"
    with pytest.raises(ByocError, match="can't reach the local AWS's registry"):
        docker_engine.push(docker_toy.tag, f"{host}/toy", cloud.client("ecr"))
    assert docker_engine.packages(docker_toy) is not None
    docker_engine.sweep(tmp_path)
    assert commands("network") == commands("history") == commands("tag") == []
