"""The table of operations, and what each of them is given."""

import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from byoc.engines import Engine
from byoc.local.slots import Slots
from byoc.local.state import Resource, State

Handler = Callable[["Context", dict[str, Any]], dict[str, Any] | None]

OPERATIONS: dict[str, Handler] = {}


def operation(handler: Handler) -> Handler:
    """Serve the SageMaker operation of the handler's name: `create_model` serves CreateModel."""
    name = "".join(word.capitalize() for word in handler.__name__.split("_"))
    OPERATIONS[name] = handler
    return handler


@dataclass(frozen=True)
class Options:
    """How the local AWS differs from AWS where waiting teaches nothing.

    startup_timeout: seconds for the first good `/ping` (AWS: 480); stop_grace: seconds from SIGTERM
    to SIGKILL of a training job (AWS: 120); parallel_jobs: how many jobs run at a time; memory: GiB
    that one container may take, disk: GiB that all work folders may hold together, None for what
    the machine has.
    """

    startup_timeout: float = 20.0
    stop_grace: float = 120.0
    parallel_jobs: int = 4
    memory: float | None = None
    disk: float | None = None


@dataclass(frozen=True)
class Platform:
    """What all requests share."""

    state: State
    engine: Engine
    options: Options
    work: Path
    endpoint_url: str
    slots: Slots  # one for each training job that may run at a time


@dataclass(frozen=True)
class Context:
    """Whose request it is, and what serves it."""

    platform: Platform
    account: str
    region: str

    def table(self, kind: str) -> dict[str, Resource]:
        return self.platform.state.table(self.account, self.region, kind)

    def arn(self, kind: str, name: str) -> str:
        return f"arn:aws:sagemaker:{self.region}:{self.account}:{kind}/{name.lower()}"

    def client(self, service: str) -> Any:
        """A boto3 client of this account and region at the local AWS itself."""
        with _LOCK:  # a session is not safe for several threads, its clients are
            return _client(service, self.account, self.region, self.platform.endpoint_url)


_LOCK = threading.Lock()


@functools.lru_cache(maxsize=64)
def _client(service: str, account: str, region: str, endpoint_url: str) -> Any:
    return _session().client(
        service,
        region_name=region,
        endpoint_url=endpoint_url,
        aws_access_key_id=account,
        aws_secret_access_key="local",
        config=Config(retries={"total_max_attempts": 1}, max_pool_connections=50, proxies={}),
    )


@functools.cache
def _session() -> boto3.session.Session:
    """One for all clients: it reads the model of each service once."""
    return boto3.session.Session()
