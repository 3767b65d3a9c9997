"""A local AWS of the tests' own process, which does not wait long for anyone."""

import base64
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import urllib3

from byoc.local.options import Options
from byoc.local.server import Server


@contextmanager
def serving(work: Path, **options: Any) -> Iterator[Server]:
    """A local AWS of this process with these options."""
    server = Server(work, options=Options(stop_grace=1.0, **options))
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    yield server
    server.stop()
    thread.join(60)


def account_of(server: Server, cloud: Any, clients: Any) -> Any:
    """The cloud's account on another server, to which this process is then led."""
    os.environ["AWS_ENDPOINT_URL"] = server.url
    return type(cloud)(cloud.aws, clients, server.url)


@pytest.fixture(scope="session")
def impatient_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One second for the first good ping and for what does not stop by itself."""
    with serving(tmp_path_factory.mktemp("impatient") / "work", startup_timeout=1.0) as server:
        yield server


@pytest.fixture
def impatient(
    impatient_server: Server, environment: None, clients: Any, account: str, open_cloud: Callable
) -> Iterator[Any]:
    """A fresh account of the impatient local AWS."""
    impatient = account_of(impatient_server, open_cloud(account), clients)
    yield impatient
    _delete_endpoints(impatient)


@pytest.fixture(scope="session")
def watchful_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Containers are asked often; metrics and captured data are delivered at once."""
    work = tmp_path_factory.mktemp("watchful") / "work"
    often = {"ping_interval": 0.1, "metrics_interval": 0.1, "capture_interval": 0.1}
    with serving(work, **often) as server:
        yield server


@pytest.fixture
def watchful(
    watchful_server: Server, environment: None, clients: Any, account: str, open_cloud: Callable
) -> Iterator[Any]:
    """A fresh account of the watchful local AWS."""
    watchful = account_of(watchful_server, open_cloud(account), clients)
    yield watchful
    _delete_endpoints(watchful)


@pytest.fixture(scope="session")
def hasty_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A minute of autoscaling lasts 0.2 seconds, one of a deployment's waiting half a second."""
    work = tmp_path_factory.mktemp("hasty") / "work"
    with serving(work, scaling_interval=0.2, rollout_interval=0.5, ping_interval=0.1) as server:
        yield server


@pytest.fixture
def hasty(
    hasty_server: Server, environment: None, clients: Any, account: str, open_cloud: Callable
) -> Iterator[Any]:
    """A fresh account of the hasty local AWS."""
    hasty = account_of(hasty_server, open_cloud(account), clients)
    yield hasty
    _delete_endpoints(hasty)


@pytest.fixture(scope="session")
def strict_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Policies are asked at each call."""
    with serving(tmp_path_factory.mktemp("strict") / "work", iam="enforce") as server:
        yield server


@pytest.fixture
def strict(
    strict_server: Server, environment: None, clients: Any, account: str, open_cloud: Callable
) -> Iterator[Any]:
    """A fresh account of the strict local AWS; the cloud's own clients are its root's."""
    strict = account_of(strict_server, open_cloud(account), clients)
    yield strict
    _delete_endpoints(strict)


@pytest.fixture
def own_server(
    tmp_path: Path, environment: None, clients: Any, account: str, open_cloud: Callable
) -> Iterator[Callable[..., Any]]:
    """A local AWS of this test's own, with the options it asks for."""
    with ExitStack() as servers:

        def start(**options: float) -> tuple[Any, Server]:
            server = servers.enter_context(serving(tmp_path / "work", **options))
            return account_of(server, open_cloud(account), clients), server

        yield start


def _delete_endpoints(cloud: Any) -> None:
    for row in cloud.sagemaker.list_endpoints(MaxResults=100)["Endpoints"]:
        if cloud.settled(row["EndpointName"]):
            cloud.delete_endpoint(row["EndpointName"])


class RegistryClient:
    """A client of the registry API, with the password that ECR gave the cloud's account."""

    manifest_type = "application/vnd.docker.distribution.manifest.v2+json"
    config_type = "application/vnd.docker.container.image.v1+json"

    def __init__(self, cloud: Any) -> None:
        self.url = cloud.url
        self.host = f"{cloud.account}.dkr.ecr.{cloud.region}.amazonaws.com"
        (entry,) = cloud.client("ecr").get_authorization_token()["authorizationData"]
        text = base64.b64decode(entry["authorizationToken"]).decode()
        self.user, _, self.password = text.partition(":")
        self._http = urllib3.PoolManager(timeout=120.0)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """The answer to a request below /v2/."""
        basic = urllib3.make_headers(basic_auth=f"{self.user}:{self.password}")
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"{self.url}/v2/{path}"
        return self._http.request(
            method, url, body=body, headers={**basic, **named}, retries=False, redirect=False
        )

    def send(self, name: str, content: bytes) -> str:
        """Upload a layer; returns its digest."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        place = self.ask("POST", f"{name}/blobs/uploads/").headers["Location"]
        place = self.ask("PATCH", place.removeprefix("/v2/"), content).headers["Location"]
        sent = self.ask("PUT", f"{place.removeprefix('/v2/')}&digest={digest}")
        assert sent.status == 201, sent.data
        return digest

    def manifest(self, name: str, *layers: bytes, **members: Any) -> bytes:
        """A manifest of layers, which are uploaded, as is a configuration of its own."""
        config = json.dumps({"architecture": "amd64", "os": "linux"}).encode()
        described = [
            {"mediaType": "layer", "size": len(one), "digest": self.send(name, one)}
            for one in (config, *layers)
        ]
        described[0]["mediaType"] = self.config_type
        content = {"schemaVersion": 2, "mediaType": self.manifest_type, **members}
        return json.dumps({**content, "config": described[0], "layers": described[1:]}).encode()

    def put(self, name: str, reference: str, manifest: bytes) -> Any:
        """PUT a manifest; the answer."""
        kind = json.loads(manifest)["mediaType"]
        return self.ask("PUT", f"{name}/manifests/{reference}", manifest, Content_Type=kind)


@pytest.fixture(scope="session")
def distribution() -> None:
    """A test that needs Distribution is left out where there is none."""
    if not (shutil.which("docker-registry") or shutil.which("registry")):
        pytest.skip("no registry here: neither docker-registry nor registry is on PATH")


@pytest.fixture(scope="session")
def registry_class() -> type[RegistryClient]:
    """The client, for tests without a Distribution."""
    return RegistryClient


@pytest.fixture
def registry_client(distribution: None) -> Callable[[Any], RegistryClient]:
    """Log in to the registry of a cloud."""
    return RegistryClient
