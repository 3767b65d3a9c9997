"""What models, endpoint configurations and endpoints have in common: names, ARNs and messages."""

from dataclasses import dataclass
from typing import Any

from byoc.local.errors import validation
from byoc.local.service import Context
from byoc.local.state import Resource, now, page, tags_of, taken


@dataclass(frozen=True)
class Kind:
    """One of the three kinds: how AWS names it in ARNs, members and messages."""

    table: str
    member: str
    words: str


MODEL = Kind("model", "Model", "model")
ENDPOINT_CONFIG = Kind("endpoint-config", "EndpointConfig", "endpoint configuration")
ENDPOINT = Kind("endpoint", "Endpoint", "endpoint")


def create(context: Context, request: dict[str, Any], kind: Kind, data: dict[str, Any]) -> Resource:
    """A new resource in its table; raises ValidationException when the name is taken."""
    name = request[f"{kind.member}Name"]
    arn = context.arn(kind.table, name)
    known = {f"{kind.member}Name": name, f"{kind.member}Arn": arn, "CreationTime": now()}
    resource = Resource(name, arn, known | data, tags_of(request))
    with context.platform.state.lock:
        table = context.table(kind.table)
        if taken(name, table):
            raise validation(f'Cannot create already existing {kind.words} "{arn}".')
        table[name] = resource
    return resource


def find(context: Context, kind: Kind, name: str) -> Resource:
    """The resource of this name; raises ValidationException when there is none."""
    resource = context.table(kind.table).get(name)
    if resource is None:
        raise validation(f'Could not find {kind.words} "{context.arn(kind.table, name)}".')
    return resource


def delete(context: Context, kind: Kind, name: str) -> None:
    """Remove the resource. What already runs from it goes on. Source: DeleteModel."""
    with context.platform.state.lock:
        find(context, kind, name)
        del context.table(kind.table)[name]


def listing(context: Context, request: dict[str, Any], kind: Kind) -> dict[str, Any]:
    """The answer of the kind's List operation."""
    members = [f"{kind.member}Name", f"{kind.member}Arn", "CreationTime"]
    status = None
    if kind is ENDPOINT:
        status = "EndpointStatus"
        members += [status, "LastModifiedTime"]
    with context.platform.state.lock:
        return page(
            request,
            context.table(kind.table).values(),
            f"{kind.member}s",
            lambda resource: {key: resource.data[key] for key in members},
            name=members[0],
            status=status,
        )
