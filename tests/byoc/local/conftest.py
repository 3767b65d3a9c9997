"""A local AWS of the tests' own process, which does not wait long for anyone."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from byoc.local.options import Options
from byoc.local.server import Server


@contextmanager
def serving(work: Path, **options: float) -> Iterator[Server]:
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
    """Containers are asked often, and metrics are delivered at once."""
    work = tmp_path_factory.mktemp("watchful") / "work"
    with serving(work, ping_interval=0.1, metrics_interval=0.1) as server:
        yield server


@pytest.fixture
def watchful(
    watchful_server: Server, environment: None, clients: Any, account: str, open_cloud: Callable
) -> Iterator[Any]:
    """A fresh account of the watchful local AWS."""
    watchful = account_of(watchful_server, open_cloud(account), clients)
    yield watchful
    _delete_endpoints(watchful)


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
