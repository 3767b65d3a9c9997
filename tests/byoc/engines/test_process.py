"""The process engine: snapshots of a folder, and its programs as child processes."""

import json
import signal
import socket
import time
from pathlib import Path

import boto3
import pytest

from byoc import ByocError, engines
from byoc.optml import OptML

ENGINE = engines.engine("process")
HEAD = "FROM python:3.12\n"
BOTH = HEAD + "COPY train serve /opt/program/\nENV PATH=/opt/program:$PATH\n"
ON_PATH = HEAD + "COPY train /opt/program/\nENV PATH=/opt/program:$PATH PYTHONUNBUFFERED=1\n"


@pytest.fixture
def image(tmp_path, write):
    """Build files into an image; `Dockerfile` is one of them."""

    def build(**files):
        folder = write(tmp_path / "image", **{"Dockerfile": ON_PATH, **files})
        return ENGINE.build(folder, "test:1")

    return build


@pytest.fixture
def ml(tmp_path):
    return OptML.create(path=tmp_path / "ml")


def outcome(image, ml, arguments=("train",), **options):
    """Exit code and log of a program that ends by itself."""
    with ENGINE.run(image, list(arguments), ml=ml, **options) as container:
        lines = list(container.lines())
        return container.wait(60), lines


@pytest.fixture
def no_mounts(monkeypatch):
    monkeypatch.setattr("byoc.engines.sandbox.available", lambda: False)


def python(*lines):
    return "#!/usr/bin/env python\nimport os, pathlib, signal, subprocess, sys, time\n" + "\n".join(
        lines
    )


# --- images


def test_the_digest_follows_the_content(image, write, tmp_path):
    first = image(train=python("print(1)"))
    again = image(train=python("print(1)"))
    assert again.id == first.id
    assert image(train=python("print(2)")).id != first.id
    assert image(train=python("print(1)")).id == first.id
    assert image(Dockerfile=ON_PATH + "ENV A=1\n").id != first.id
    assert image(Dockerfile=ON_PATH).id == first.id
    (tmp_path / "image/train").chmod(0o644)
    assert ENGINE.build(tmp_path / "image", "test:1").id != first.id
    assert first.id.startswith("sha256:")


def test_files_that_are_not_copied_change_nothing(image):
    first = image(train=python("print(1)"))
    assert image(**{"notes.md": "other"}).id == first.id


def test_an_image_is_found_by_its_tag(image):
    built = image(train=python("print(1)"), Dockerfile=ON_PATH + "LABEL a=b\n")
    found = ENGINE.image("test:1")
    assert found == built
    assert found.labels == {"a": "b"}
    assert found.size > 0
    with pytest.raises(ByocError, match=r"There is no image absent:1: build it with `byoc build"):
        ENGINE.image("absent:1")


def test_the_configuration_is_as_docker_shows_it(toy_folder):
    with (toy_folder / "Dockerfile").open("a") as file:
        file.write('USER app\nENTRYPOINT ["python"]\nCMD ["train"]\n')
    engine = engines.engine("process")
    found = engine.configuration(engine.build(toy_folder, "configuration:1"))
    assert (found["Entrypoint"], found["Cmd"], found["User"]) == (["python"], ["train"], "app")
    assert "GREETING=hello" in found["Env"]
    assert found["WorkingDir"] == "/opt/program"
    assert found["Architecture"] == "amd64"
    assert found["MediaType"] == "application/vnd.docker.distribution.manifest.v2+json"


@pytest.mark.parametrize("tag", ["penguins", "", ":1", "penguins:", "host:80/penguins"])
def test_a_tag_has_a_name_and_a_version(toy_folder, tag):
    with pytest.raises(ByocError, match="is not NAME:TAG"):
        ENGINE.build(toy_folder, tag)


def test_the_build_says_what_it_does_not_do(image, capsys):
    image(train=python(), Dockerfile=ON_PATH + "RUN pip install numpy\nRUN echo " + "x" * 200)
    said = capsys.readouterr().out
    assert "process engine: not executed: RUN pip install numpy" in said
    assert "requirements.txt stands for" in said
    assert max(map(len, said.splitlines())) <= 100


def test_what_is_pushed_is_a_docker_manifest(cloud, toy_tag):
    uri = cloud.push(toy_tag)
    assert uri == f"{cloud.account}.dkr.ecr.us-east-1.amazonaws.com/toy:1"
    assert cloud.push(toy_tag) == uri  # again: nothing to do
    (details,) = cloud.client("ecr").describe_images(repositoryName="toy")["imageDetails"]
    assert details["imageTags"] == ["1"]
    assert details["imageSizeInBytes"] == ENGINE.image(toy_tag).size
    (found,) = cloud.client("ecr").batch_get_image(
        repositoryName="toy", imageIds=[{"imageTag": "1"}]
    )["images"]
    manifest = json.loads(found["imageManifest"])
    # The only kind of manifest that SageMaker's CreateModel takes.
    assert manifest["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    assert manifest["config"]["digest"] == ENGINE.image(toy_tag).id


def test_an_immutable_tag_is_not_moved(cloud, toy_folder):
    ecr = cloud.client("ecr")
    ecr.create_repository(repositoryName="still", imageTagMutability="IMMUTABLE")
    ENGINE.build(toy_folder, "still:1")
    cloud.push("still:1")
    (toy_folder / "train").write_text("#!/bin/sh\n")
    ENGINE.build(toy_folder, "still:1")
    with pytest.raises(ByocError, match="The tag 1 of still is immutable and holds another image"):
        cloud.push("still:1")


def test_the_repository_must_exist(cloud, toy_tag):
    with pytest.raises(ByocError, match="There is no ECR repository absent: create it first"):
        ENGINE.push(toy_tag, f"{cloud.account}.dkr.ecr.us-east-1.amazonaws.com/absent")


def test_a_snapshot_is_not_pushed_to_a_real_account(cloud, toy_tag, monkeypatch):
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    boto3.setup_default_session()
    with pytest.raises(ByocError, match="can be pushed to the local AWS only"):
        ENGINE.push(toy_tag, f"{cloud.account}.dkr.ecr.us-east-1.amazonaws.com/toy")


def test_an_unknown_engine_is_refused(monkeypatch):
    monkeypatch.setenv("BYOC_ENGINE", "podman5")
    with pytest.raises(ByocError, match="There is no engine called 'podman5'"):
        engines.engine()


# --- programs


@pytest.mark.parametrize(
    ("dockerfile", "arguments", "options", "printed"),
    [
        ("", ["train"], {}, ["train"]),
        ("", ["/opt/program/train", "a b"], {}, ["/opt/program/train", "a b"]),
        ('ENTRYPOINT ["train"]', ["serve"], {}, ["train", "serve"]),
        ('CMD ["train", "--default"]', [], {}, ["train", "--default"]),
        ('CMD ["train", "--default"]', ["train"], {}, ["train"]),
        ('ENTRYPOINT ["train"]\nCMD ["x"]', [], {}, ["train", "x"]),
        ('ENTRYPOINT ["nothing"]\nCMD ["x"]', [], {"entrypoint": ["train"]}, ["train"]),
        ('ENTRYPOINT ["nothing"]', ["a"], {"entrypoint": ["train", "-v"]}, ["train", "-v", "a"]),
        ('WORKDIR /opt/program\nENTRYPOINT ["python", "train"]', ["train"], {}, ["train", "train"]),
        ("ENTRYPOINT train", ["serve"], {}, ["train"]),  # the shell form swallows the argument
    ],
)
def test_entrypoint_and_command_as_docker_runs_them(
    image, ml, dockerfile, arguments, options, printed
):
    program = python("print(os.path.basename(sys.argv[0]), *sys.argv[1:], sep='|')")
    built = image(train=program, Dockerfile=ON_PATH + dockerfile)
    expected = "|".join([printed[0].rpartition("/")[2], *printed[1:]])
    assert outcome(built, ml, arguments, **options) == (0, [expected])


def test_environment_and_working_directory(image, ml):
    built = image(
        train=python("for n in ('A', 'B', 'C'): print(os.environ.get(n))", "print(os.getcwd())"),
        Dockerfile=ON_PATH + "ENV A=image B=image\nWORKDIR /opt/program\n",
    )
    code, lines = outcome(built, ml, environment={"B": "request", "C": "request"})
    assert (code, lines[:3]) == (0, ["image", "request", "request"])
    assert lines[3].endswith("/opt/program")


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/opt/program:/opt/venv/bin:/usr/bin:/bin", True),
        ("/usr/local/bin:/opt/program", True),
        ("/opt/program:/usr/sbin:/sbin", False),
    ],
)
def test_the_images_python_is_found_where_a_path_has_it(image, ml, path, found):
    built = image(
        train="#!/bin/sh\ncommand -v python || echo none\n",
        Dockerfile=HEAD + f"COPY train /opt/program/\nENV PATH={path}\n",
    )
    code, (line,) = outcome(built, ml)
    assert (code, "environments" in line) == (0, found), line


def test_this_machines_environment_stays_outside(image, ml, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret")
    monkeypatch.setenv("SM_MODEL_DIR", "/somewhere")
    built = image(train=python("print(*sorted(os.environ))"))
    names = outcome(built, ml)[1][0].split()
    assert "AWS_SECRET_ACCESS_KEY" not in names
    assert not [name for name in names if name.startswith("SM_")]


def test_opt_ml_of_the_image_is_hidden(image, ml):
    built = image(
        train=python(
            "print(pathlib.Path('/opt/ml/code/x').exists(), os.path.isfile('/opt/other'))"
        ),
        x="",
        Dockerfile=ON_PATH + "COPY x /opt/ml/code/x\nCOPY x /opt/other\n",
    )
    (ml.path / "input/here").write_text("")
    assert outcome(built, ml)[1][0].split()[0] == "False"


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("sys.exit(0)", 0),
        ("sys.exit(3)", 3),
        ("raise ValueError", 1),
    ],
)
def test_exit_codes(image, ml, program, code):
    found, _ = outcome(image(train=python(program)), ml)
    assert found == code


@pytest.mark.parametrize(
    ("files", "arguments", "code", "said"),
    [
        ({}, ["serve"], 127, 'exec: "serve": executable file not found in $PATH'),
        ({"serve": "no x"}, ["serve"], 127, 'exec: "serve": executable file not found in $PATH'),
        ({"x": "no x"}, ["/opt/program/x"], 126, 'exec: "/opt/program/x": permission denied'),
        ({}, ["/opt/none"], 127, 'exec: "/opt/none": stat /opt/none: no such file or directory'),
        ({}, [], 125, "docker: no command specified"),
    ],
)
def test_a_program_that_cannot_start_has_dockers_words(image, ml, files, arguments, code, said):
    copy = "".join(f"COPY {name} /opt/program/\n" for name in files)
    built = image(**{"train": python(), "Dockerfile": ON_PATH + copy, **files})
    assert outcome(built, ml, arguments) == (code, [said])


def test_an_interpreter_that_is_missing_is_127(image, ml):
    for line in ("#!/opt/no/such/python", "#!/bin/sh\r"):
        code, lines = outcome(image(train=f"{line}\n"), ml)
        assert (code, lines) == (127, ["exec /opt/program/train: no such file or directory"])


def test_lines_come_while_the_program_runs(image, ml, gate):
    built = image(train=python("print('before')", gate.program, "print('after')"))
    with ENGINE.run(built, ["train"], ml=ml) as container:
        lines = container.lines()
        assert next(lines) == "before"
        assert container.poll() is None
        gate.open()
        assert list(lines) == ["after"]
        assert container.wait(60) == 0
        assert container.log == ["before", "after"]


def test_standard_error_and_odd_output(image, ml):
    built = image(
        train=python(
            "out = sys.stdout.buffer",
            r"out.write(b'caf\xc3\xa9\nbad \xff\n\nwindows\r\n')",
            r"out.write(b'long ' + b'x' * 100_000 + b'\nno end')",
            "out.flush()",
        )
    )
    _, lines = outcome(built, ml)
    assert lines == ["café", "bad �", "", "windows", "long " + "x" * 100_000, "no end"]
    built = image(train=python("print('to stderr', file=sys.stderr)"))
    assert outcome(built, ml) == (0, ["to stderr"])


def test_waiting_gives_up_and_the_program_goes_on(image, ml, gate):
    with ENGINE.run(image(train=python(gate.program)), ["train"], ml=ml) as container:
        with pytest.raises(TimeoutError):
            container.wait(0.01)
        gate.open()
        assert container.wait(60) == 0


def test_stop_is_sigterm_first(image, ml, until):
    built = image(
        train=python(
            "def stop(*_): print('asked to stop'); sys.exit(7)",
            "signal.signal(signal.SIGTERM, stop)",
            "print('ready')",
            "signal.pause()",
        )
    )
    container = ENGINE.run(built, ["train"], ml=ml)
    until(lambda: "ready" in container.log)
    assert container.stop(60) == 7
    assert list(container.lines()) == ["ready", "asked to stop"]


DEAF_CHILD = "import os, signal; signal.signal(15, 1); os.write(1, b'1\\n'); signal.pause()"
DEAF_PARENT = python(
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    f"child = [sys.executable, '-c', {DEAF_CHILD!r}, os.environ['MARK']]",
    "for _ in range(2): subprocess.Popen(child)",
    "signal.pause()",
)


def test_stop_ends_children_too_even_deaf_ones(image, ml, until, alive, tmp_path):
    mark = f"mark-{tmp_path}"
    container = ENGINE.run(image(train=DEAF_PARENT), ["train"], ml=ml, environment={"MARK": mark})
    until(lambda: container.log.count("1") == 2)
    assert len(alive(mark)) >= 3
    assert container.stop(0.1) == 128 + signal.SIGKILL
    until(lambda: not alive(mark))


def test_children_do_not_outlive_the_program(image, ml, until, alive, tmp_path):
    mark = f"mark-{tmp_path}"
    built = image(
        train=python(
            "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])",
            "print('leaving')",
        )
    )
    container = ENGINE.run(built, ["train"], ml=ml, environment={"MARK": mark})
    assert container.wait(60) == 0
    until(lambda: not alive(mark))
    assert list(container.lines()) == ["leaving"]


def test_leaving_the_block_stops_the_program(image, ml, until, alive, tmp_path):
    mark = f"mark-{tmp_path}"
    built = image(train=python("print(1)", "time.sleep(600)"))
    with ENGINE.run(built, ["train"], ml=ml, environment={"MARK": mark}) as container:
        until(lambda: container.log)
        container.stop(0)
        started = time.monotonic()
    assert time.monotonic() - started < 60
    until(lambda: not alive(mark))


def test_several_servers_at_once_each_on_its_port(toy_tag, tmp_path):
    image = ENGINE.image(toy_tag)
    mls = [OptML.create(path=tmp_path / name) for name in "ab"]
    with (
        ENGINE.run(image, ["serve"], ml=mls[0]) as first,
        ENGINE.run(image, ["serve"], ml=mls[1]) as second,
    ):
        assert first.url != second.url
        assert first.ready(60)
        assert second.ready(60)
        assert first.ping() == second.ping() == 200
        first.stop()
        assert first.ping() is None
        assert second.ping() == 200


def test_ready_is_false_for_a_server_that_ends_or_is_sick(toy_tag, image, ml):
    with ENGINE.run(image(train=python("sys.exit(1)")), ["train"], ml=ml) as container:
        assert not container.ready(60)
    sick = {"PING": "503"}
    with ENGINE.run(ENGINE.image(toy_tag), ["serve"], ml=ml, environment=sick) as container:
        assert not container.ready(1)


def test_the_packages_of_an_image_have_sizes(penguins_tag):
    sizes = ENGINE.packages(ENGINE.image(penguins_tag))
    assert {"numpy", "scikit-learn", "gunicorn"} <= {name.lower() for name in sizes}
    assert list(sizes.values()) == sorted(sizes.values(), reverse=True)
    assert sizes["numpy"] > 1_000_000


# --- limits and ends from outside


def test_a_program_killed_from_outside_ends_with_137_and_no_noise(image, ml, until, alive):
    built = image(train=python("print('ready')", "signal.pause()"))
    with ENGINE.run(built, ["train"], ml=ml, environment={"MARK": str(ml.path)}) as container:
        until(lambda: "ready" in container.log)
        for process in alive(str(ml.path)):
            if process.name() != "unshare":
                process.kill()
        assert container.wait(60) == 128 + signal.SIGKILL
        assert list(container.lines()) == ["ready"]
        assert not container.out_of_memory


def test_a_program_that_a_signal_ends_has_128_and_the_signal(image, ml):
    program = python("import ctypes; ctypes.string_at(0)")
    assert outcome(image(train=program), ml)[0] == 128 + signal.SIGSEGV


GREEDY = python("hoard = []", "while True: hoard.append(bytearray(1 << 22)); time.sleep(0.01)")


@pytest.mark.parametrize("mounts", [True, False])
def test_a_container_beyond_its_memory_is_killed_with_all_its_children(
    mounts, image, ml, until, alive, request, tmp_path
):
    if not mounts:
        request.getfixturevalue("no_mounts")
    mark = f"mark-{tmp_path}"
    built = image(
        train=python("subprocess.Popen([sys.executable, '/opt/greedy'])", "time.sleep(600)")
        if mounts
        else GREEDY,
        greedy=GREEDY,
        Dockerfile=ON_PATH + "COPY greedy /opt/greedy\n",
    )
    container = ENGINE.run(
        built, ["train"], ml=ml, environment={"MARK": mark}, memory=100 * 1024 * 1024
    )
    assert container.wait(60) == 137
    assert container.out_of_memory
    until(lambda: not alive(mark))


def test_what_a_container_uses_is_known(image, ml, until):
    built = image(train=python("hoard = b'x' * (1 << 26)", "while True: pass"))
    with ENGINE.run(built, ["train"], ml=ml) as container:

        def seen():
            usage = container.usage
            return usage if usage and usage.cpu > 10 and usage.memory > 1 << 26 else None

        assert 0 < until(seen).memory_percent <= 100
        container.stop(0)


def test_nothing_of_a_container_lies_elsewhere_than_beside_its_folder(image, ml, until, tmp_path):
    built = image(train=python("print(os.environ['HOME'])", "signal.pause()"))
    with ENGINE.run(built, ["train"], ml=ml) as container:
        until(lambda: container.log)
        assert container.log[0].startswith(f"{tmp_path}/")
        container.stop(0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["image", "ml"]


@pytest.mark.parametrize("mounts", [True, False])
def test_a_sweep_ends_the_containers_below_a_folder_and_no_other(
    mounts, image, until, alive, tmp_path, request
):
    if not mounts:
        request.getfixturevalue("no_mounts")
    built = image(train=python("print('ready')", "time.sleep(600)"))
    containers = [
        ENGINE.run(built, ["train"], ml=OptML.create(path=tmp_path / place / "ml"))
        for place in ("work", "work-of-another")
    ]
    until(lambda: all(container.log for container in containers))
    ENGINE.sweep(tmp_path / "work")
    assert containers[0].wait(60) == 137
    assert not alive(f"{tmp_path}/work/")
    assert containers[1].poll() is None
    containers[1].stop(0)


# --- several hosts

private = pytest.mark.skipif(not ENGINE.has_networks(), reason="this machine has no namespaces")

# One host listens under its own name, the other asks it; both print what they heard.
TALK = python(
    "import socket",
    "here, there = os.environ['HERE'], os.environ['THERE']",
    "if here < there:",
    "    with socket.create_server((here, 5000)) as s: print(s.accept()[0].recv(9).decode())",
    "else:",
    "    while True:",
    "        try: s = socket.create_connection((there, 5000)); break",
    "        except OSError: time.sleep(0.02)",
    "    s.sendall(b'hello'); print('said')",
)


@private
@pytest.mark.parametrize("isolated", [True, False])
def test_hosts_reach_each_other_by_name(image, tmp_path, isolated):
    built, hosts = image(train=TALK), ["algo-1", "algo-2"]
    with ENGINE.network(hosts, isolated) as network:
        containers = [
            ENGINE.run(
                built,
                ["train"],
                ml=OptML.create(path=tmp_path / host),
                environment={"HERE": host, "THERE": other},
                network=network,
            )
            for host, other in zip(hosts, reversed(hosts), strict=True)
        ]
        assert [container.wait(60) for container in containers] == [0, 0]
    assert [list(container.lines()) for container in containers] == [["hello"], ["said"]]


@private
def test_two_networks_do_not_share_addresses():
    first, second = (ENGINE.network(["algo-1", "algo-2"]) for _ in range(2))
    assert len({*first.addresses.values(), *second.addresses.values()}) == 4


@private
def test_an_isolated_container_reaches_nothing(image, ml):
    program = python(
        "import socket",
        "with socket.socket() as s: print(s.connect_ex(('127.0.0.1', int(os.environ['PORT']))))",
        "with socket.socket() as s: print(s.connect_ex(('192.0.2.1', 80)))",
        "print(*[name for _, name in socket.if_nameindex()])",
    )
    built = image(train=program)
    with socket.create_server(("127.0.0.1", 0)) as server:
        environment = {"PORT": str(server.getsockname()[1])}
        assert outcome(built, ml, environment=environment)[1][0] == "0"
        with ENGINE.network(["algo-1"], isolated=True) as network:
            code, lines = outcome(built, ml, environment=environment, network=network)
    assert code == 0, lines
    assert lines[0] != "0"
    assert lines[1] != "0"
    assert lines[2].split()[0] == "lo"


def test_without_mounts_there_is_no_network(no_mounts):
    assert not ENGINE.has_networks()
    with pytest.raises(ByocError, match="need Linux"):
        ENGINE.network(["algo-1", "algo-2"])


# --- without private mounts, as on macOS


def test_without_mounts_one_variable_moves_opt_ml(no_mounts, image, ml):
    program = python("print(os.environ['SAGEMAKER_BASE_DIR'])", "print(os.path.exists('/opt/ml'))")
    code, lines = outcome(image(train=program), ml)
    assert (code, lines[0]) == (0, str(ml.path))


def test_without_mounts_entrypoints_and_the_working_directory_still_work(no_mounts, image, ml):
    dockerfile = ON_PATH + 'WORKDIR /opt/program\nENTRYPOINT ["python", "/opt/program/train"]\n'
    built = image(train=python("print(os.getcwd().endswith('opt/program'), sys.argv[1:])"))
    assert outcome(built, ml)[0] == 0
    built = image(Dockerfile=dockerfile)
    code, lines = outcome(built, ml)
    assert (code, lines) == (0, ["True ['train']"])


def test_without_mounts_stop_ends_all_children(no_mounts, image, ml, until, alive, tmp_path):
    mark = f"mark-{tmp_path}"
    container = ENGINE.run(image(train=DEAF_PARENT), ["train"], ml=ml, environment={"MARK": mark})
    until(lambda: container.log.count("1") == 2)
    assert container.stop(0.1) == 128 + signal.SIGKILL
    until(lambda: not alive(mark))


ROWS = "".join(
    f"{30 + i % 7},{15 + i % 3},{180 + i % 5},{3000 + i},{'Adelie' if i % 2 else 'Gentoo'}\n"
    for i in range(60)
)


@pytest.mark.parametrize("mounts", [True, False])
def test_the_real_container_trains_and_serves(mounts, penguins_tag, tmp_path, request):
    if not mounts:
        request.getfixturevalue("no_mounts")
    image = ENGINE.image(penguins_tag)
    (tmp_path / "rows.csv").write_text(ROWS)
    ml = OptML.create(
        path=tmp_path / "ml", channels={"training": tmp_path / "rows.csv"}, hyperparameters={}
    )
    code, lines = outcome(image, ml)
    assert code == 0, lines
    assert any(line.startswith("validation:accuracy=") for line in lines)
    files = sorted(p.name for p in ml.model.iterdir())
    assert files == ["baseline.json", "metadata.json", "tree.npy"]
    with ENGINE.run(image, ["serve"], ml=ml) as server:
        assert server.ready(60), server.log


def test_a_program_cannot_change_its_image(image, ml):
    built = image(
        train="#!/bin/sh\necho run\necho 'echo changed' >> /opt/program/train\ntouch left\nls\n",
        Dockerfile=ON_PATH + "WORKDIR /opt/program\n",
    )
    first = outcome(built, ml)
    assert "left" in first[1]
    assert outcome(built, ml) == first


def test_a_temporary_folder_is_the_programs_own_and_goes_with_it(image, ml):
    lines = ("import tempfile", "folder = pathlib.Path(tempfile.mkdtemp()).parent")
    train = python(*lines, "print(folder, len(list(folder.iterdir())))")
    seen = [outcome(image(train=train), ml)[1][0].rsplit(" ", 1) for _ in range(2)]
    assert [count for _, count in seen] == ["1", "1"]
    assert not any(Path(folder).exists() for folder, _ in seen)


def test_an_image_that_cannot_be_told_a_port_gets_8080_alone(image, ml):
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 8080)) == 0:
            pytest.skip("port 8080 of this machine is in use")
    built = image(train=python(), serve=python("time.sleep(600)"), Dockerfile=BOTH)
    with ENGINE.run(built, ["serve"], ml=ml) as first:
        assert first.url.endswith(":8080")
        assert outcome(built, OptML.create())[0] == 0  # a job takes no port and gives none back
        with pytest.raises(ByocError, match=r"Port 8080 is in use.*SAGEMAKER_BIND_TO_PORT"):
            ENGINE.run(built, ["serve"], ml=ml)
    with ENGINE.run(built, ["serve"], ml=ml) as again:
        assert again.url.endswith(":8080")


def test_a_stop_that_comes_before_the_program_runs_is_kept(image, ml):
    built = image(train=python("time.sleep(600)"))
    container = ENGINE.run(built, ["train"], ml=ml)
    assert container.stop(grace=5) in (0, 137, 143)
    assert container.poll() is not None


@pytest.mark.parametrize(
    "lines",
    [
        ["ENV APP=/opt/app", "WORKDIR ${APP}", "COPY train $APP/", "ENV PATH=$APP:$PATH"],
        ["WORKDIR /opt/app", "COPY train /opt/app", "ENV PATH=/opt/app:$PATH"],
        ["COPY train /opt/app/", "WORKDIR /workspace", "ENV PATH=/opt/app:$PATH"],
        ["COPY train /opt/app/", "ENV PATH=/opt/app"],
    ],
    ids=["variables", "folder without slash", "folder of nothing", "PATH of its own"],
)
def test_dockerfiles_are_followed_as_docker_follows_them(image, ml, lines):
    built = image(train="#!/bin/sh\necho started\n", Dockerfile=HEAD + "\n".join(lines))
    assert outcome(built, ml) == (0, ["started"])


def test_a_word_below_opt_ml_is_found_where_nothing_can_be_mounted(image, ml, no_mounts):
    """As script processors start theirs: python /opt/ml/processing/input/code/program.py."""
    folder = ml.path / "input/code"
    folder.mkdir(parents=True)
    (folder / "program.py").write_text("import sys; print(sys.argv[1:])")
    words = ["python", "/opt/ml/input/code/program.py"]
    code, lines = outcome(image(train=""), ml, ["--text", "/opt/mlx"], entrypoint=words)
    assert (code, lines) == (0, ["['--text', '/opt/mlx']"])
