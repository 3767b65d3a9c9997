"""A local AWS for the session, a fresh account for each test, and two images to run on it."""

import contextlib
import functools
import itertools
import json
import os
import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
from botocore.exceptions import ClientError

from byoc import Connection, connect, engines
from byoc.connect import local_variables
from byoc.local import daemon

ROOT = Path(__file__).parents[1]
ACCOUNTS = itertools.count(random.randrange(10**6, 10**11))  # a new one for each test
PATIENCE = 120.0  # seconds after which a test gives up; none depends on how long a thing takes
WAITER = {"Delay": 0.05, "MaxAttempts": 2400}

TRUST = {  # what lets SageMaker take on a role
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "sagemaker.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    ],
}

DOCKERFILE = """\
FROM python:3.12-slim-bookworm
LABEL com.amazonaws.sagemaker.capabilities.accept-bind-to-port=true
COPY train serve /opt/program/
ENV PATH=/opt/program:$PATH PYTHONUNBUFFERED=1 GREETING=hello
WORKDIR /opt/program
"""

# Does what the hyperparameter `program` says, so that a test shows what its container does.
TRAIN = """\
#!/usr/bin/env python
import json, os, pathlib, signal, subprocess, sys, time
ml = pathlib.Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
hyperparameters = json.loads((ml / "input/config/hyperparameters.json").read_text())
program = "(ml / 'model/model.txt').write_text('a model')"
exec(json.loads(hyperparameters.get("program", json.dumps(program))))
"""

# Answers what a JSON body says; any other body comes back with what the container saw of it.
SERVE = """\
#!/usr/bin/env python
import json, os, pathlib, signal, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
ml = pathlib.Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
model = {str(p.relative_to(ml)): p.read_text() for p in ml.rglob("*") if p.is_file()}
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self, status, body, headers={}):
        self.send_response(status)
        for item in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(*item)
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.answer(int(os.environ.get("PING", "200")), b"")
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        print("invoked", flush=True)
        if self.headers["Content-Type"] == "application/orders":
            orders = json.loads(body)
            if orders.get("exit"):
                os._exit(1)
            if "program" in orders:
                return exec(orders["program"], {**globals(), "self": self, "body": body})
            text = orders.get("body", "").encode()
            return self.answer(orders.get("status", 200), text, orders.get("headers", {}))
        seen = {"headers": dict(self.headers), "body": body.decode("latin-1"),
                "model": model, "environment": dict(os.environ), "argv": sys.argv[1:]}
        headers = {"Content-Type": "application/json"}
        self.answer(200, json.dumps(seen).encode(), headers)
    def log_message(self, *_):
        pass
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
exec(os.environ.get("FIRST", ""))
print("serving", flush=True)
address = "0.0.0.0", int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080"))
ThreadingHTTPServer.request_queue_size = 128  # clients at a time that may wait
ThreadingHTTPServer(address, Handler).serve_forever()
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first, so that no processor waits for it at the end."""
    items.sort(key=lambda item: "notebooks" not in item.path.parts)


def pytest_xdist_auto_num_workers() -> int:
    """One more than processors: half of what these tests do is waiting for a container."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The tests' own place for images and the local AWS, which is stopped at the end."""
    folder = tmp_path_factory.mktemp("byoc")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BYOC_HOME", str(folder))
        patch.setenv("BYOC_ENGINE", "process")  # tests of another engine name it
        for name in [n for n in os.environ if n.startswith(("AWS_", "SAGEMAKER_", "SM_"))]:
            patch.delenv(name)
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        yield folder
        daemon.down()


@pytest.fixture
def environment() -> Iterator[None]:
    """What the test changes in the environment, and in boto3's default session, ends with it."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
    boto3.DEFAULT_SESSION = None


@pytest.fixture
def account() -> str:
    """Twelve digits that no other test has."""
    return f"{next(ACCOUNTS):012d}"


@pytest.fixture
def other_account() -> str:
    """A second account that no other test has; its zeros in front must survive."""
    return f"0000{next(ACCOUNTS) % 10**8:08d}"


@pytest.fixture(scope="session")
def until() -> Callable[..., Any]:
    """Ask again until the answer is true; fails after two minutes."""

    def ask(question: Callable[[], Any], what: str = "") -> Any:
        deadline = time.monotonic() + PATIENCE
        while not (answer := question()):
            assert time.monotonic() < deadline, f"never true: {what or question}"
            time.sleep(0.02)
        return answer

    return ask


@pytest.fixture(scope="session")
def write() -> Callable[..., Path]:
    """Write files into a folder, programs (they begin with #!) executable."""

    def write_files(folder: Path, **files: str) -> Path:
        for name, text in files.items():
            path = folder / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755 if text.startswith("#!") else 0o644)
        return folder

    return write_files


@pytest.fixture
def toy_folder(tmp_path: Path, write: Callable[..., Path]) -> Path:
    """The container folder of the toy image, for tests that change it."""
    return write(tmp_path / "toy", Dockerfile=DOCKERFILE, train=TRAIN, serve=SERVE)


@pytest.fixture(scope="session")
def toy_tag(
    home: Path, tmp_path_factory: pytest.TempPathFactory, write: Callable[..., Path]
) -> str:
    """A built image of two small programs that need nothing but Python."""
    folder = tmp_path_factory.mktemp("toy")
    write(folder, Dockerfile=DOCKERFILE, train=TRAIN, serve=SERVE)
    return engines.engine().build(folder, "toy:1").tag


@pytest.fixture(scope="session")
def docker_engine(home: Path) -> Any:
    """The first of docker, podman and finch that answers."""
    found = [engine for engine in engines.available() if engine.name != "process"]
    if not found:
        pytest.skip("none of docker, podman and finch answers on this machine")
    return found[0]


@pytest.fixture(scope="session")
def docker_toy(
    docker_engine: Any, tmp_path_factory: pytest.TempPathFactory, write: Callable[..., Path]
) -> Iterator[Any]:
    """The toy image as the engine at hand has built it."""
    folder = tmp_path_factory.mktemp("docker-toy")
    write(folder, Dockerfile=DOCKERFILE, train=TRAIN, serve=SERVE)
    image = docker_engine.build(folder, f"byoc-toy-{os.getpid()}:1")
    yield image
    subprocess.run(
        [docker_engine.name, "image", "rm", "--force", "--no-prune", image.tag], check=False
    )


@pytest.fixture
def containers(docker_engine: Any) -> Callable[[Path], list[str]]:
    """The containers and networks, also those that have ended, of runs below a folder."""

    def ask(*arguments: str) -> str:
        command = [docker_engine.name, *arguments]
        return subprocess.run(command, capture_output=True, text=True).stdout

    def find(folder: Path) -> list[str]:
        found = ask("ps", "--all", "--quiet", "--filter", "label=byoc.folder").split()
        found += ask("network", "ls", "--quiet", "--filter", "label=byoc.folder").split()
        return [name for name in found if f'"{folder}/' in ask("inspect", name)]

    return find


@pytest.fixture(scope="session")
def penguins_tag(home: Path) -> str:
    """The book's own container/, built."""
    return engines.engine().build(ROOT / "container", "penguins:1").tag


def make_role(iam: Any, name: str, **members: Any) -> str:
    """A role that SageMaker may take on, or the one that is there already; returns its ARN."""
    try:
        trust = json.dumps(TRUST)
        created = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust, **members)
        return created["Role"]["Arn"]
    except iam.exceptions.EntityAlreadyExistsException:
        return iam.get_role(RoleName=name)["Role"]["Arn"]


@pytest.fixture(scope="session", name="make_role")
def make_role_fixture() -> Callable[..., str]:
    """`make_role`, for tests that have no `Cloud`."""
    return make_role


class Cloud:
    """One account and region of the local AWS, with the calls that most tests make."""

    waiter = WAITER

    def __init__(self, aws: Connection, session: boto3.Session, url: str) -> None:
        self.aws, self.account, self.region, self.url = aws, aws.account_id, aws.region, url
        self._session = session
        self._clients: dict[str, Any] = {}
        self._numbers = itertools.count(1)

    @functools.cached_property
    def role(self) -> str:
        """The ARN of an execution role that is there and that SageMaker may take on."""
        return make_role(self.client("iam"), self.aws.role.rpartition("/")[2])

    def client(self, service: str) -> Any:
        """boto3's client, from one session for all tests: it reads the service models once."""
        if service not in self._clients:
            self._clients[service] = self._session.client(
                service,
                region_name=self.region,
                endpoint_url=self.url,
                aws_access_key_id=self.account,
                aws_secret_access_key="local",
            )
        return self._clients[service]

    @property
    def sagemaker(self) -> Any:
        return self.client("sagemaker")

    def push(self, tag: str) -> str:
        """Push a built image into the repository of its name; returns its URI."""
        ecr, name = self.client("ecr"), tag.rpartition(":")[0]
        try:
            ecr.create_repository(repositoryName=name)
        except ecr.exceptions.RepositoryAlreadyExistsException:
            pass
        host = f"{self.account}.dkr.ecr.{self.region}.amazonaws.com"
        os.environ.update(local_variables(self.url, self.account, self.region))
        boto3.setup_default_session()
        return engines.engine().push(tag, f"{host}/{name}")

    def put(self, key: str, content: str | bytes) -> str:
        """An object in the project's bucket; returns its URI."""
        s3 = self.client("s3")
        if "s3-bucket" not in self._clients:
            self._clients["s3-bucket"] = place = {"LocationConstraint": self.region}
            extra = {} if self.region == "us-east-1" else {"CreateBucketConfiguration": place}
            s3.create_bucket(Bucket=self.aws.bucket, **extra)
        s3.put_object(Bucket=self.aws.bucket, Key=key, Body=content)
        return f"s3://{self.aws.bucket}/{key}"

    def get(self, uri: str) -> bytes:
        """The object at a URI."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return self.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()

    def request(self, image: str, program: str | None = None, **members: Any) -> dict[str, Any]:
        """A CreateTrainingJob request; `program` is what the toy image's train does."""
        self.put("ready", b"")  # makes the bucket
        name = members.pop("name", f"job-{next(self._numbers)}")
        algorithm = members.pop("algorithm", {})
        hyperparameters = {"program": json.dumps(program)} if program is not None else {}
        hyperparameters |= members.pop("hyperparameters", {})
        return {
            "TrainingJobName": name,
            "AlgorithmSpecification": {
                "TrainingImage": image,
                "TrainingInputMode": "File",
                **algorithm,
            },
            "RoleArn": self.role,
            "HyperParameters": hyperparameters,
            "OutputDataConfig": {"S3OutputPath": f"s3://{self.aws.bucket}/out"},
            "ResourceConfig": {
                "InstanceType": "ml.m5.large",
                "InstanceCount": 1,
                "VolumeSizeInGB": 10,
            },
            "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
            **members,
        }

    def start(self, image: str, program: str | None = None, **members: Any) -> str:
        """Create a training job; returns its name."""
        request = self.request(image, program, **members)
        self.sagemaker.create_training_job(**request)
        return request["TrainingJobName"]

    def finish(self, job: str) -> dict[str, Any]:
        """DescribeTrainingJob once the job has ended, however it ended."""
        ended = ("Completed", "Failed", "Stopped")
        deadline = time.monotonic() + PATIENCE
        while True:
            found = self.sagemaker.describe_training_job(TrainingJobName=job)
            if found["TrainingJobStatus"] in ended:
                return found
            assert time.monotonic() < deadline, found
            time.sleep(0.02)

    def train(self, image: str, program: str | None = None, **members: Any) -> dict[str, Any]:
        """A training job from its creation to its end."""
        return self.finish(self.start(image, program, **members))

    def channel(self, name: str, uri: str, **members: Any) -> dict[str, Any]:
        """One entry of InputDataConfig."""
        source = {"S3DataType": "S3Prefix", "S3Uri": uri}
        return {"ChannelName": name, "DataSource": {"S3DataSource": source}, **members}

    def log(self, group: str, prefix: str = "") -> list[str]:
        """The messages of the one log stream in the group whose name begins so."""
        logs = self.client("logs")
        wanted = {"logStreamNamePrefix": prefix} if prefix else {}
        streams = logs.describe_log_streams(logGroupName=group, **wanted)
        (stream,) = [s["logStreamName"] for s in streams["logStreams"]]
        found = logs.get_log_events(
            logGroupName=group, logStreamName=stream, startFromHead=True, limit=10000
        )
        return [event["message"] for event in found["events"]]

    def create_endpoint(
        self, image: str, name: str = "toy", instances: int = 1, **container: Any
    ) -> str:
        """Model, configuration and endpoint of one variant; returns when it is being created."""
        self.sagemaker.create_model(
            ModelName=name,
            PrimaryContainer={"Image": image, **container},
            ExecutionRoleArn=self.role,
        )
        self.configure(name, {"AllTraffic": name}, InitialInstanceCount=instances)
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        return name

    def configure(self, name: str, variants: dict[str, str], **members: Any) -> None:
        """An endpoint configuration; `variants` maps a variant's name to its model's."""
        self.sagemaker.create_endpoint_config(
            EndpointConfigName=name,
            ProductionVariants=[
                {
                    "VariantName": variant,
                    "ModelName": model,
                    "InstanceType": "ml.m5.large",
                    "InitialInstanceCount": 1,
                    **members,
                }
                for variant, model in variants.items()
            ],
        )

    def settled(self, name: str = "toy") -> str:
        """The endpoint's status once it is not being changed any more; "" when it is gone."""
        deadline = time.monotonic() + PATIENCE
        while True:
            rows = self.sagemaker.list_endpoints(NameContains=name, MaxResults=100)["Endpoints"]
            status = next((r["EndpointStatus"] for r in rows if r["EndpointName"] == name), "")
            if status not in ("Creating", "Updating", "Deleting"):
                return status
            assert time.monotonic() < deadline, rows
            time.sleep(0.02)

    def deployed(self, name: str = "toy") -> dict[str, Any]:
        """DescribeEndpoint once the endpoint is no longer being created."""
        deadline = time.monotonic() + PATIENCE
        while True:
            found = self.sagemaker.describe_endpoint(EndpointName=name)
            if found["EndpointStatus"] != "Creating":
                return found
            assert time.monotonic() < deadline, found
            time.sleep(0.02)

    def invoke(self, body: bytes | str, name: str = "toy", **members: Any) -> dict[str, Any]:
        """InvokeEndpoint's answer."""
        runtime = self.client("sagemaker-runtime")
        return runtime.invoke_endpoint(EndpointName=name, Body=body, **members)

    def delete_endpoint(self, name: str = "toy") -> None:
        """Delete an endpoint, once it is settled, and wait until it is gone."""
        self.settled(name)
        self.sagemaker.delete_endpoint(EndpointName=name)
        waiter = self.sagemaker.get_waiter("endpoint_deleted")
        waiter.wait(EndpointName=name, WaiterConfig=WAITER)


@pytest.fixture(scope="session")
def clients() -> boto3.Session:
    """The boto3 session that all tests' clients come from."""
    return boto3.Session()


@pytest.fixture
def open_cloud(environment: None, clients: boto3.Session) -> Iterator[Callable[..., Cloud]]:
    """Open accounts and regions of the session's local AWS; their endpoints end with the test."""
    opened = []

    def open_account(account: str, region: str = "us-east-1") -> Cloud:
        aws = connect("local", account, region)
        opened.append(Cloud(aws, clients, os.environ["AWS_ENDPOINT_URL"]))
        return opened[-1]

    yield open_account
    running = daemon.status()
    for cloud in opened if running is not None else []:
        if cloud.url != running.url:
            continue  # that one was stopped by its test
        for row in cloud.sagemaker.list_endpoints(MaxResults=100)["Endpoints"]:
            if cloud.settled(row["EndpointName"]):
                cloud.sagemaker.delete_endpoint(EndpointName=row["EndpointName"])
        jobs = cloud.sagemaker.list_training_jobs(StatusEquals="InProgress", MaxResults=100)
        for row in jobs["TrainingJobSummaries"]:
            with contextlib.suppress(ClientError):  # it may have ended meanwhile
                cloud.sagemaker.stop_training_job(TrainingJobName=row["TrainingJobName"])


@pytest.fixture
def cloud(open_cloud: Callable[..., Cloud], account: str) -> Cloud:
    """A fresh account of the local AWS, to which this process is connected."""
    return open_cloud(account)


@pytest.fixture
def toy(cloud: Cloud, toy_tag: str) -> str:
    """The toy image's URI in the test's account."""
    return cloud.push(toy_tag)


@pytest.fixture
def penguins_image(cloud: Cloud, penguins_tag: str) -> str:
    """The URI of the image of container/ in the test's account."""
    return cloud.push(penguins_tag)


@dataclass
class Gate:
    """Where a program on this machine waits until the test lets it go on."""

    path: Path

    @property
    def program(self) -> str:
        """Python that reports that it has come so far, and waits."""
        return (
            f"open({str(self.path)!r} + '.reached', 'w').close(); open({str(self.path)!r}).read()"
        )

    @property
    def reached(self) -> bool:
        return Path(f"{self.path}.reached").exists()

    def open(self) -> None:
        """Let the one who waits go on."""
        threading.Thread(target=self.path.write_text, args=("go",), daemon=True).start()


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """A gate for one program."""
    path = tmp_path / "gate"
    os.mkfifo(path)
    return Gate(path)


@pytest.fixture
def alive() -> Callable[[str], list[psutil.Process]]:
    """The processes of this machine whose command line or environment holds a text."""

    def find(text: str) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                known = [*process.cmdline(), *process.environ().values()]
                if process.status() != psutil.STATUS_ZOMBIE and any(text in k for k in known):
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    return find
