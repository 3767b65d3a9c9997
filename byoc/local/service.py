"""The table of operations, and what each of them is given."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moto.utilities.utils import get_partition

from byoc.engines import Engine
from byoc.local.clients import Clients
from byoc.local.options import Options
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
class Platform:
    """What all requests share."""

    state: State
    engine: Engine
    options: Options
    work: Path
    clients: Clients
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
        partition = get_partition(self.region)
        return f"arn:{partition}:sagemaker:{self.region}:{self.account}:{kind}/{name.lower()}"

    def client(self, service: str) -> Any:
        """A boto3 client of this account and region at the local AWS itself."""
        return self.platform.clients.get(service, self.account, self.region)
