"""How an operation is added, and what its handler is given."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from moto.utilities.utils import get_partition

from byoc.local.clients import Clients
from byoc.local.options import Options
from byoc.local.slots import Slots
from byoc.local.state import Resource, State

if TYPE_CHECKING:
    from byoc.local.authorisation import Authority
    from byoc.local.trail import Trail

# In the JSON protocols it takes a Context and the request's members, and returns the answer's.
Handler = Callable[..., Any]
H = TypeVar("H", bound=Handler)

OPERATIONS: dict[str, dict[str, Handler]] = {}  # by the service's name in boto3 and the operation


def operation_of(service: str) -> Callable[[H], H]:
    """Serve the service's operation of the handler's name: `create_model` serves CreateModel.

    The first sentence of the handler's docstring says what the operation does here: the book's
    page on the local AWS shows it.
    """

    def register(handler: H) -> H:
        name = "".join(word.capitalize() for word in handler.__name__.split("_"))
        OPERATIONS.setdefault(service, {})[name.replace("Aws", "AWS")] = handler
        return handler

    return register


operation = operation_of("sagemaker")


@dataclass(frozen=True)
class Platform:
    """What all requests share."""

    state: State
    options: Options
    work: Path
    clients: Clients
    slots: Slots  # one for each training or processing job that may run at a time
    trail: "Trail"
    authority: "Authority"


@dataclass(frozen=True)
class Context:
    """Whose request it is, and what serves it."""

    platform: Platform
    account: str
    region: str

    @property
    def partition(self) -> str:
        """`aws`, or what it is called in China and GovCloud."""
        return get_partition(self.region)

    def table(self, kind: str) -> dict[str, Resource]:
        return self.platform.state.table(self.account, self.region, kind)

    def arn(self, kind: str, name: str) -> str:
        return f"arn:{self.partition}:sagemaker:{self.region}:{self.account}:{kind}/{name.lower()}"

    def client(self, service: str) -> Any:
        """A boto3 client of this account and region at the local AWS itself."""
        return self.platform.clients.get(service, self.account, self.region)

    def s3(self, role: str | None) -> Any:
        """S3's client for the data of a job or model; without a role, the account's root asks."""
        return self.client_as("s3", role)

    def client_as(self, service: str, role: str | None) -> Any:
        """The client of S3, logs or metrics for what SageMaker does as the role of a job."""
        return self.platform.clients.get(service, self.account, self.region, self.principal(role))

    def principal(self, role: str | None) -> str:
        """The ARN of the role, or of the account's root where a model has no role."""
        return role or f"arn:{self.partition}:iam::{self.account}:root"
