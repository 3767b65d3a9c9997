"""A local AWS of the tests' own process, which does not wait long for anyone."""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from byoc.local.options import Options
from byoc.local.server import Server


@pytest.fixture(scope="session")
def impatient_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One second for the first good ping and for what does not stop by itself."""
    options = Options(startup_timeout=1.0, stop_grace=1.0)
    server = Server(tmp_path_factory.mktemp("impatient") / "work", options=options)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    yield server
    server.stop()
    thread.join(60)


@pytest.fixture
def impatient(
    impatient_server: Server, environment: None, clients: Any, account: str, open_cloud: Callable
) -> Iterator[Any]:
    """A fresh account of the impatient local AWS."""
    cloud = open_cloud(account)
    os.environ["AWS_ENDPOINT_URL"] = impatient_server.url
    impatient = type(cloud)(cloud.aws, clients, impatient_server.url)
    yield impatient
    _delete_endpoints(impatient)


@pytest.fixture(scope="session")
def watchful_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Containers are asked often, and metrics are delivered at once."""
    options = Options(ping_interval=0.1, metrics_interval=0.1, stop_grace=1.0)
    server = Server(tmp_path_factory.mktemp("watchful") / "work", options=options)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    yield server
    server.stop()
    thread.join(60)


@pytest.fixture
def watchful(
    watchful_server: Server, environment: None, clients: Any, account: str, open_cloud: Callable
) -> Iterator[Any]:
    """A fresh account of the watchful local AWS."""
    cloud = open_cloud(account)
    os.environ["AWS_ENDPOINT_URL"] = watchful_server.url
    watchful = type(cloud)(cloud.aws, clients, watchful_server.url)
    yield watchful
    _delete_endpoints(watchful)


@pytest.fixture
def own_server(
    tmp_path: Path, environment: None, clients: Any, account: str, open_cloud: Callable
) -> Iterator[Callable[..., Any]]:
    """A local AWS of this test's own, with the options it asks for."""
    servers: list[tuple[Server, threading.Thread]] = []

    def start(**options: float) -> tuple[Any, Server]:
        server = Server(tmp_path / "work", options=Options(stop_grace=1.0, **options))
        thread = threading.Thread(target=server.serve, daemon=True)
        thread.start()
        servers.append((server, thread))
        cloud = open_cloud(account)
        os.environ["AWS_ENDPOINT_URL"] = server.url
        return type(cloud)(cloud.aws, clients, server.url), server

    yield start
    for server, thread in servers:
        server.stop()
        thread.join(60)


def _delete_endpoints(cloud: Any) -> None:
    for row in cloud.sagemaker.list_endpoints(MaxResults=100)["Endpoints"]:
        if cloud.settled(row["EndpointName"]):
            cloud.delete_endpoint(row["EndpointName"])
