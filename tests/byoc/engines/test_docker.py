"""docker, podman or finch, whichever answers: images, programs, networks, and what goes wrong."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import tempfile
import urllib.request
from pathlib import Path

import boto3
import pytest

from byoc import ByocError, engines
from byoc.engines import hints, registries
from byoc.engines.commands import CommandLine
from byoc.engines.docker import DockerEngine
from byoc.optml import OptML

BASE = "python:3.12-slim-bookworm"
NOWHERE = f"python:3.12.0-slim-bookworm@sha256:{'0' * 64}"
DOCKERFILE = f"FROM {BASE}\nCOPY train /opt/program/\nENV PATH=/opt/program:$PATH\n"


@pytest.fixture
def build(docker_engine, tmp_path, write, request):
    """Build files into an image, which goes with the test; `Dockerfile` is one of them."""
    tag = f"byoc-test-{os.getpid()}:{abs(hash(request.node.nodeid))}"

    def build_files(build_args=None, **files):
        folder = write(tmp_path / "image", **{"Dockerfile": DOCKERFILE, **files})
        return docker_engine.build(folder, tag, build_args)

    yield build_files
    subprocess.run(
        [docker_engine.name, "image", "rm", "--force", "--no-prune", tag], capture_output=True
    )


def layout(tmp_path, program=None, name="ml"):
    """An /opt/ml whose training program does what the text says."""
    hyperparameters = {} if program is None else {"program": json.dumps(program)}
    return OptML.create(path=tmp_path / name, hyperparameters=hyperparameters)


@pytest.fixture
def run(docker_engine, docker_toy, tmp_path):
    """Exit code and log of a program in the toy image, and its /opt/ml."""

    def run_program(program=None, arguments=("train",), **options):
        ml = layout(tmp_path, program)
        with docker_engine.run(docker_toy, list(arguments), ml=ml, **options) as container:
            return container.wait(60), list(container.lines()), ml

    return run_program


@pytest.fixture
def start(docker_engine, docker_toy, tmp_path):
    """A container of the toy image that runs until the test is over."""
    started = []

    def start_program(program, **options):
        ml = layout(tmp_path, f"print('ready'); {program}", f"ml-{len(started)}")
        started.append(docker_engine.run(docker_toy, ["train"], ml=ml, **options))
        return started[-1]

    yield start_program
    for container in started:
        container.stop(0)


# --- which engine


def test_the_engine_that_answers_is_found(docker_engine, monkeypatch):
    monkeypatch.delenv("BYOC_ENGINE")
    assert engines.engine().name == docker_engine.name
    assert [e.name for e in engines.available()][:2] == ["process", docker_engine.name]


@pytest.mark.parametrize("host", ["unix:///nowhere.sock", "tcp://127.0.0.1:1"])
def test_an_engine_that_does_not_answer(docker_engine, monkeypatch, host):
    if docker_engine.name != "docker":
        pytest.skip("only docker follows DOCKER_HOST")
    monkeypatch.setenv("DOCKER_HOST", host)
    with pytest.raises(ByocError, match=r"docker is installed, but its engine does not answer.*"):
        engines.engine("docker")
    monkeypatch.delenv("BYOC_ENGINE")
    assert engines.engine().name != "docker"
    with pytest.raises(ByocError, match=rf"correct DOCKER_HOST \({host}\)"):
        DockerEngine("docker").image("anything:1")


def test_an_engine_that_is_not_installed(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("BYOC_ENGINE", "podman")
    with pytest.raises(ByocError, match="There is no program podman on PATH: install it"):
        engines.engine()
    monkeypatch.delenv("BYOC_ENGINE")
    assert engines.engine().name == "process"


# --- images


def test_a_build_shows_its_command_and_says_what_came_of_it(build, docker_engine, capsys):
    image = build(train="#!/bin/sh\n", Dockerfile=DOCKERFILE + "LABEL a=b\n")
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first.startswith(f"$ {docker_engine.name} build")
    assert "--platform linux/amd64" in first
    assert last == f"{image.engine} engine: image {image.tag} {image.id[:19]}, {image.size:,} bytes"
    assert (image.architecture, image.labels["a"]) == ("amd64", "b")
    assert docker_engine.image(image.tag) == image
    with pytest.raises(ByocError, match=r"There is no image absent:1: build it with `byoc build"):
        docker_engine.image("absent:1")


def test_the_same_files_make_the_same_image(build):
    assert build(train="#!/bin/sh\n").id == build(train="#!/bin/sh\n").id


def test_a_base_that_cannot_be_pulled_is_replaced_and_said_so(build, capsys):
    pinned = f"ARG BASE={NOWHERE}\n" + DOCKERFILE.replace(BASE, "${BASE}")
    build(train="#!/bin/sh\n", Dockerfile=pinned)
    said = capsys.readouterr().out
    assert f"base {NOWHERE} can't be pulled (" in said
    assert f"); building on {BASE}, which is here\n" in said
    assert f"--build-arg=BASE={BASE}" in said


@pytest.mark.parametrize("how", ["argument", "variable"])
def test_another_base_is_named(build, capsys, monkeypatch, how):
    pinned = f"ARG BASE={NOWHERE}\n" + DOCKERFILE.replace(BASE, "${BASE}")
    if how == "variable":
        monkeypatch.setenv("BYOC_BASE", BASE)
    build({"BASE": BASE} if how == "argument" else None, train="#!/bin/sh\n", Dockerfile=pinned)
    said = capsys.readouterr().out
    assert f"--build-arg=BASE={BASE}" in said
    assert "pull" not in said


@pytest.mark.parametrize(
    ("dockerfile", "sentence"),
    [
        ("FROM absent.invalid/no/image:1\n", "The base image of .* can't be pulled"),
        (DOCKERFILE + "RUN echo no reason; exit 3\n", "build` failed: .*3"),
        (
            DOCKERFILE + "RUN echo Temporary failure in name resolution; exit 3\n",
            "could not reach the network .*--build-arg HTTPS_PROXY",
        ),
        (
            DOCKERFILE + "RUN echo write: no space left on device; exit 3\n",
            "no space left on the engine's disk .*image rm",
        ),
        ("FRM x\n", "build` failed: .*(?i:unknown instruction)"),
    ],
    ids=["base", "step", "network", "space", "syntax"],
)
def test_a_build_that_fails_says_why(build, dockerfile, sentence):
    with pytest.raises(ByocError, match=sentence) as caught:
        build(train="#!/bin/sh\n", Dockerfile=dockerfile)
    assert "\n" not in str(caught.value)


def test_what_is_no_folder_with_a_dockerfile_is_refused(docker_engine, tmp_path, toy_folder):
    with pytest.raises(ByocError, match="There is no Dockerfile in"):
        docker_engine.build(tmp_path / "absent", "x:1")
    with pytest.raises(ByocError, match="is not NAME:TAG"):
        docker_engine.build(toy_folder, "nameless")


def test_packages_and_layers(docker_engine, build):
    image = build(
        train="#!/bin/sh\n", Dockerfile=DOCKERFILE + "RUN head -c 1000000 /dev/zero > /zeros\n"
    )
    assert all(size >= 0 for size in docker_engine.packages(image).values())
    layers = docker_engine.layers(image)
    assert sum(layer.size for layer in layers) == pytest.approx(image.size, rel=0.05)
    assert layers[-1].instruction == "RUN head -c 1000000 /dev/zero > /zeros"
    assert 1_000_000 <= layers[-1].size < 1_100_000


def test_an_image_is_found_by_its_manifest(docker_engine, docker_toy):
    manifest = {"schemaVersion": 2, "config": {"digest": docker_toy.id}}
    found = docker_engine.resolve(json.dumps(manifest))
    assert (found.id, found.engine) == (docker_toy.id, docker_engine.name)
    assert docker_engine.resolve('{"config": {"digest": "sha256:' + "0" * 64 + '"}}') is None


def test_a_manifest_that_sagemaker_does_not_take_is_said(cloud):
    ecr = cloud.client("ecr")
    ecr.create_repository(repositoryName="oci")
    kind = "application/vnd.oci.image.manifest.v1+json"
    manifest = {"schemaVersion": 2, "mediaType": kind, "config": {}, "layers": []}
    ecr.put_image(repositoryName="oci", imageManifest=json.dumps(manifest), imageTag="1")
    with pytest.raises(ByocError, match=r"oci:1 was pushed with a manifest .*oci.*refuses"):
        registries.check_manifest(ecr, "oci", "1", "docker")


# --- programs


def test_output_comes_line_by_line_and_the_container_goes(run, containers, tmp_path):
    code, lines, ml = run(
        "print('one', flush=True); print('error', file=sys.stderr); print('two', flush=True); "
        "(ml / 'model/m').write_text('m'); sys.exit(3)"
    )
    # Docker reads the two streams apart: only within one is the order sure
    assert (code, sorted(lines)) == (3, ["error", "one", "two"])
    assert lines.index("one") < lines.index("two")
    assert (ml.model / "m").read_text() == "m"
    assert containers(tmp_path) == []


STARTS = {
    "absent": (["absent"], {}),
    "no path": (["/opt/absent"], {}),
    "not executable": (["/opt/program/plain"], {}),
    "not executable on PATH": (["plain"], {}),
    "path": (["/opt/program/train", "a b"], {}),
    "entrypoint": (["a"], {"entrypoint": ["train", "-v"]}),
    "nothing": ([], {}),
}


@pytest.mark.parametrize("how", STARTS)
def test_both_engines_start_programs_in_the_same_way(build, docker_engine, tmp_path, write, how):
    arguments, options = STARTS[how]
    dockerfile = DOCKERFILE.replace("train", "train plain") + "CMD []\n"
    image = build(train='#!/bin/sh\necho "$@"\n', plain="", Dockerfile=dockerfile)
    process = engines.engine("process")
    snapshot = process.build(tmp_path / "image", "same:1")
    seen = []
    for engine, built in ((docker_engine, image), (process, snapshot)):
        options_here = {"entrypoint": ["train"]} if how == "nothing" else options
        ml = layout(tmp_path, name=engine.name)
        with engine.run(built, arguments, ml=ml, **options_here) as container:
            seen.append((container.wait(60), list(container.lines())))
    assert seen[0] == seen[1]


def test_the_environment_is_the_images_and_the_requests(run, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret")
    code, lines, _ = run(
        "print(os.environ['GREETING'], os.environ['A'], 'AWS_SECRET_ACCESS_KEY' in os.environ)",
        environment={"A": "with space=and\nline", "GREETING": "request"},
    )
    assert (code, lines) == (0, ["request with space=and", "line False"])


def test_a_read_only_folder_cannot_be_written_to(run):
    code, lines, ml = run(
        "(ml / 'output/x').write_text(''); (ml / 'model/x').write_text('')",
        read_only=["/opt/ml/model"],
    )
    assert code == 1
    assert "Read-only file system: '/opt/ml/model/x'" in lines[-1]
    assert (ml.output / "x").exists()


def test_more_memory_than_it_may_take_ends_it(docker_engine, start):
    container = start("x = b'x' * 10**9", memory=64 * 2**20)
    assert container.wait(60) == 128 + signal.SIGKILL
    assert container.out_of_memory


def test_what_it_uses_is_sampled(start, until):
    if not os.path.exists("/proc/self/cgroup"):
        pytest.skip("the containers' processes are on another machine")
    container = start("x = b'x' * 10**8; time.sleep(600)")
    until(lambda: container.usage is not None and container.usage.memory > 10**8)


@pytest.mark.parametrize(
    ("train", "sentence"),
    [
        ("#!/usr/bin/env python\r\nprint(1)\r\n", hints.CRLF),
        ("#!/bin/sh\r\necho 1\r\n", hints.CRLF),
        ("echo no first line\n", hints.WRONG_FORMAT),
    ],
    ids=["env", "sh", "no #!"],
)
def test_the_cure_for_a_program_that_cannot_be_executed(
    build, docker_engine, tmp_path, capsys, train, sentence
):
    dockerfile = DOCKERFILE + "RUN chmod 755 /opt/program/train\n"
    image = build(train=train, Dockerfile=dockerfile)
    assert ("(CRLF)" in capsys.readouterr().out) == ("\r\n" in train)
    with docker_engine.run(image, ["train"], ml=layout(tmp_path)) as container:
        assert container.wait(60) != 0
        assert container.hint == sentence


def test_an_image_for_another_processor(docker_engine, tmp_path, write):
    command, tag = CommandLine(docker_engine.name), f"byoc-arm-{os.getpid()}:1"
    folder = write(tmp_path / "arm", Dockerfile="FROM scratch\nCOPY train /\n", train="")
    command.ask("build", "--platform", "linux/arm64", "--tag", tag, f"{folder}")
    image = docker_engine.image(tag)
    try:
        with docker_engine.run(image, ["train"], ml=layout(tmp_path)) as container:
            assert container.wait(60) == 1
            assert "exec format error: " in container.log[0]
            assert "is for arm64: build it with `--platform linux/amd64`" in container.log[0]
            assert container.hint == hints.WRONG_FORMAT
    finally:
        command.ask("image", "rm", tag)


def test_an_image_that_is_gone(docker_engine, docker_toy, tmp_path):
    gone = dataclasses.replace(docker_toy, id=f"sha256:{'0' * 64}")
    with pytest.raises(ByocError, match="is no longer here: build or pull it"):
        docker_engine.run(gone, ["train"], ml=layout(tmp_path))


def test_files_of_root_become_ours(docker_engine, docker_toy, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("every other test shows it, this user being none")
    socket = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
    if not os.path.exists(socket):
        pytest.skip("the engine has no socket that could be given to another user")
    tmp_path = Path(tempfile.mkdtemp())  # pytest's own can't be entered by others
    tmp_path.chmod(0o755)
    ml = OptML.create(path=tmp_path / "ml")
    program = "d = ml / 'model/d'; d.mkdir(mode=0o700); (d / 'f').write_text('')"
    ml.path.joinpath("input/config/hyperparameters.json").write_text(
        json.dumps({"program": json.dumps(program)})
    )
    for path in [ml.path, *ml.path.rglob("*")]:
        os.chown(path, 12345, os.stat(socket).st_gid)
    os.setegid(os.stat(socket).st_gid)
    os.seteuid(12345)
    try:
        with docker_engine.run(docker_toy, ["train"], ml=ml) as container:
            code = container.wait(60)
    finally:
        os.seteuid(0)
        os.setegid(0)
    assert code == 0, container.log
    assert {path.stat().st_uid for path in ml.path.rglob("*")} == {12345}
    shutil.rmtree(tmp_path)


# --- stopping


def test_a_stop_is_sigterm_to_the_program(start, until, containers, tmp_path):
    container = start("signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); time.sleep(600)")
    until(lambda: container.log)
    assert container.stop(60) == 7
    assert container.stop(0) == 7
    assert container.wait(0) == container.poll() == 7
    assert containers(tmp_path) == []


def test_what_does_not_listen_is_killed(start, until, containers, tmp_path):
    container = start("time.sleep(600)")  # PID 1 without a handler: the kernel drops SIGTERM
    until(lambda: container.log)
    with pytest.raises(TimeoutError):
        container.wait(0.01)
    assert container.stop(0.2) == 128 + signal.SIGKILL
    assert not container.out_of_memory
    assert containers(tmp_path) == []


def test_a_stop_at_once_finds_nothing_left(start, containers, tmp_path):
    assert start("time.sleep(600)").stop(0) == 128 + signal.SIGKILL
    assert containers(tmp_path) == []


def test_a_container_that_somebody_removes_has_ended(start, until, containers, tmp_path):
    container = start("time.sleep(600)")
    until(lambda: container.log)
    (name,) = containers(tmp_path)
    subprocess.run([container._command.program, "rm", "--force", name], check=True)
    assert container.wait(60) == 128 + signal.SIGKILL
    assert list(container.lines()) == ["ready"]


def test_a_sweep_removes_what_is_below_a_folder(docker_engine, docker_toy, tmp_path, containers):
    ours = [layout(tmp_path / "ours", "time.sleep(600)", name) for name in ("a", "b")]
    other = layout(tmp_path / "other", "time.sleep(600)")
    network = docker_engine.network(["a", "b"])
    for host, ml in zip("ab", ours, strict=True):
        docker_engine.run(docker_toy, ["train"], ml=ml, network=network, host=host)
    kept = docker_engine.run(docker_toy, ["train"], ml=other)
    try:
        assert len(containers(tmp_path / "ours")) == 3
        docker_engine.sweep(tmp_path / "ours")
        assert containers(tmp_path / "ours") == []
        assert kept.poll() is None
    finally:
        kept.stop(0)


# --- networks

MEET = """
import socket
other = {"algo-1": "algo-2", "algo-2": "algo-1"}[os.environ["HOST"]]
with socket.create_server(("0.0.0.0", 5000)) as server:
    (ml / "ready").write_text("")
    while True:
        try:
            socket.create_connection((other, 5000)).sendall(b"hello")
            break
        except OSError:
            time.sleep(0.02)
    print(server.accept()[0].recv(9).decode())
"""


@pytest.mark.parametrize("isolated", [True, False])
def test_hosts_reach_each_other_by_name(docker_engine, docker_toy, tmp_path, isolated, containers):
    hosts = ["algo-1", "algo-2"]
    with docker_engine.network(hosts, isolated) as network:
        pair = [
            docker_engine.run(
                docker_toy,
                ["train"],
                ml=layout(tmp_path, MEET, host),
                environment={"HOST": host},
                network=network,
                host=host,
            )
            for host in hosts
        ]
        assert [container.wait(60) for container in pair] == [0, 0], pair[0].log
    assert [container.log for container in pair] == [["hello"], ["hello"]]
    assert containers(tmp_path) == []


def test_a_host_alone_needs_no_network(docker_engine, run, containers, tmp_path):
    program = "import socket; print(socket.gethostbyname('algo-1'), socket.if_nameindex())"
    with docker_engine.network(["algo-1"], isolated=True) as network:
        code, lines, _ = run(program, network=network)
    assert (code, lines[0]) == (0, "127.0.0.1 [(1, 'lo')]")
    with docker_engine.network(["algo-1"]) as network:
        assert run("import socket; socket.gethostbyname('algo-1')", network=network)[0] == 0


def ask(container, **orders):
    request = urllib.request.Request(
        f"{container.url}/invocations",
        json.dumps(orders).encode(),
        {"Content-Type": "application/orders"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read().decode()


def test_servers_run_side_by_side(docker_engine, docker_toy, tmp_path):
    mls = [layout(tmp_path, name=name) for name in "ab"]
    with (
        docker_engine.run(docker_toy, ["serve"], ml=mls[0]) as first,
        docker_engine.run(docker_toy, ["serve"], ml=mls[1]) as second,
    ):
        assert first.ready(60), first.log
        assert second.ready(60), second.log
        assert first.url != second.url
        assert ask(first, body="hello") == "hello"


WHERE = "import socket; self.answer(200, socket.gethostbyname(socket.gethostname()).encode())"
REACH = """
import socket
try:
    socket.create_connection(({address!r}, 8080), 1)
    self.answer(200, b"reached")
except OSError:
    self.answer(200, b"not reached")
"""


def test_a_server_without_a_network_can_be_asked(docker_engine, docker_toy, tmp_path, containers):
    mls = [layout(tmp_path, name=name) for name in "abc"]
    with (
        docker_engine.network(["model"], isolated=True) as network,
        docker_engine.run(docker_toy, ["serve"], ml=mls[0]) as other,
        docker_engine.run(docker_toy, ["serve"], ml=mls[1]) as free,
        docker_engine.run(docker_toy, ["serve"], ml=mls[2], network=network) as isolated,
    ):
        for server in (other, free, isolated):
            assert server.ready(60), server.log
        program = REACH.format(address=ask(other, program=WHERE))
        assert ask(free, program=program) == "reached"
        assert ask(isolated, program=program) == "not reached"
    assert containers(tmp_path) == []


def test_a_server_that_ends_is_not_ready(docker_engine, docker_toy, tmp_path):
    environment = {"FIRST": "sys.exit(5)"}
    with docker_engine.run(
        docker_toy, ["serve"], ml=layout(tmp_path), environment=environment
    ) as server:
        assert not server.ready(60)
        assert server.wait(60) == 5


# --- pushes


def test_a_push_logs_in_and_out_and_says_what_it_does(
    cloud, docker_engine, docker_toy, capsys, tmp_path, monkeypatch
):
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    ecr, name = cloud.client("ecr"), docker_toy.tag.partition(":")[0]
    ecr.create_repository(repositoryName=name)
    host = f"{cloud.account}.dkr.ecr.us-east-1.amazonaws.com"
    assert docker_engine.push(docker_toy.tag, f"{host}/{name}", ecr) == f"{host}/{name}:1"
    said = capsys.readouterr().out
    (token,) = ecr.get_authorization_token()["authorizationData"]
    place = token["proxyEndpoint"].partition("//")[2]
    assert f"$ {docker_engine.name} login " in said
    assert f"{docker_engine.name} push" in said
    assert f"{place}/{host}/{name}:1\n" in said
    assert "AWS --password-stdin" in said
    assert place not in (tmp_path / "config.json").read_text()
    (pushed,) = ecr.describe_images(repositoryName=name)["imageDetails"]
    assert pushed["imageManifestMediaType"] == registries.MANIFEST_TYPE


def test_what_a_registry_refuses_is_said_in_one_sentence(
    cloud, docker_engine, docker_toy, build, tmp_path, monkeypatch
):
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    ecr = cloud.client("ecr")
    host = f"{cloud.account}.dkr.ecr.us-east-1.amazonaws.com"
    with pytest.raises(ByocError, match="There is no ECR repository absent: create it first"):
        docker_engine.push(docker_toy.tag, f"{host}/absent", ecr)
    ecr.create_repository(repositoryName="still", imageTagMutability="IMMUTABLE")
    docker_engine.push(docker_toy.tag, f"{host}/still", ecr)
    other = build(train="#!/bin/sh\n").tag
    moved = f"{other.partition(':')[0]}:1"
    CommandLine(docker_engine.name).ask("tag", other, moved)
    try:
        with pytest.raises(ByocError, match="The tag 1 of still is immutable and holds another"):
            docker_engine.push(moved, f"{host}/still", ecr)
    finally:
        CommandLine(docker_engine.name).ask("image", "rm", moved)


def test_a_registry_that_refuses_the_password(cloud, docker_engine, tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    place = cloud.url.partition("//")[2]
    with pytest.raises(ByocError, match="refuses the login"):
        docker_engine.pull(f"{place}/x/y:1", "AWS", "wrong")


def test_the_token_of_an_account_is_for_its_own_registry():
    ecr = boto3.client(
        "ecr", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    token = {"authorizationToken": "QVdTOnNlY3JldA==", "proxyEndpoint": "https://own.example"}
    from botocore.stub import Stubber

    with Stubber(ecr) as stub:
        stub.add_response("get_authorization_token", {"authorizationData": [token]})
        uri = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/name"
        login, name = registries.authorise(ecr, uri)
    assert (login.host, login.username, login.password) == (uri.partition("/")[0], "AWS", "secret")
    assert (name, login.loopback) == (uri, False)
