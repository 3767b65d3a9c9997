"""What a kind of thing is to the clean-up: how a project's items are listed, how one is deleted."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from byoc.connect import Connection

Clients = Callable[[str], Any]  # boto3's client of a service; each is made once


@dataclass(frozen=True)
class Item:
    """One thing that exists: the service and kind as AWS names them, and its name."""

    service: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.service:15} {self.kind:16} {self.name}"


class Kind(NamedTuple):
    """`list_items` answers the project's items; `delete` returns when the item is gone."""

    name: str  # as Item.kind
    list_items: Callable[[Connection, Clients], list[Item]]
    delete: Callable[[Item, Clients], Any]


def rows(operation: Callable[..., Any], member: str, **request: Any) -> Iterator[dict[str, Any]]:
    """The rows of each page of an operation for which boto3 may have no paginator."""
    page = operation(**request)
    yield from page.get(member, [])
    while page.get("NextToken"):
        page = operation(**request, NextToken=page["NextToken"])
        yield from page.get(member, [])
