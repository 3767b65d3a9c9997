"""All that the local SageMaker knows, in one place: keyed by account, region, kind and name."""

import datetime as dt
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from byoc.local.errors import validation

PAGE = 100  # entries of a List answer when MaxResults is absent


def now() -> dt.datetime:
    """This moment, with its time zone, as answers carry it."""
    return dt.datetime.now(dt.UTC)


@dataclass
class Resource:
    """One training job, model, endpoint …: `data` in the shape of its Describe answer."""

    name: str
    arn: str
    data: dict[str, Any]
    tags: dict[str, str] = field(default_factory=dict)
    runtime: Any = None  # the thread, containers and the like that carry it out


class State:
    """Tables of resources. Take `lock` for whatever must see and change several members at once."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._tables: dict[tuple[str, str, str], dict[str, Resource]] = {}

    def table(self, account: str, region: str, kind: str) -> dict[str, Resource]:
        """The resources of one kind in one account and region, by name."""
        with self.lock:
            return self._tables.setdefault((account, region, kind), {})

    def everything(self) -> list[tuple[str, str, str, Resource]]:
        """Every resource with its account, region and kind."""
        with self.lock:
            return [(*key, r) for key, table in self._tables.items() for r in table.values()]

    def by_arn(self, arn: str) -> Resource | None:
        """The resource with this ARN, or None."""
        return next((r for *_, r in self.everything() if r.arn == arn), None)


def taken(name: str, table: Mapping[str, Resource]) -> bool:
    """Whether a resource has this name; capitals don't count, since ARNs have none."""
    return name.lower() in (other.lower() for other in table)


def tags_of(request: dict[str, Any]) -> dict[str, str]:
    """The Tags member of a request as a dictionary."""
    return {tag["Key"]: tag["Value"] for tag in request.get("Tags", [])}


def page(
    request: dict[str, Any],
    resources: Iterable[Resource],
    member: str,
    summary: Callable[[Resource], dict[str, Any]],
    *,
    name: str,
    status: str | None = None,
    default_order: str = "Descending",
) -> dict[str, Any]:
    """The answer of a List operation: filtered, sorted and cut as the request asks.

    `name` and `status` are the summary's members that NameContains, StatusEquals and SortBy mean.
    Source: API Reference, ListTrainingJobs, ListModels, ListEndpointConfigs, ListEndpoints.
    """
    rows = [summary(resource) for resource in resources]
    rows = [row for row in rows if _wanted(request, row, name, status)]
    keys = {"Name": name, "Status": status or name}
    key = keys.get(request.get("SortBy", ""), "CreationTime")
    order = request.get("SortOrder", request.get("OrderKey", default_order))
    rows.sort(key=lambda row: (row[key], row["CreationTime"]), reverse=order == "Descending")
    start = _position(request.get("NextToken"))
    end = start + request.get("MaxResults", PAGE)
    answer: dict[str, Any] = {member: rows[start:end]}
    if end < len(rows):
        answer["NextToken"] = f"{end}"
    return answer


def _wanted(request: dict[str, Any], row: dict[str, Any], name: str, status: str | None) -> bool:
    created, changed = row["CreationTime"], row.get("LastModifiedTime", row["CreationTime"])
    return (
        request.get("NameContains", "").lower() in row[name].lower()
        and (status is None or request.get("StatusEquals", row[status]) == row[status])
        and created > request.get("CreationTimeAfter", dt.datetime.min.replace(tzinfo=dt.UTC))
        and created < request.get("CreationTimeBefore", dt.datetime.max.replace(tzinfo=dt.UTC))
        and changed > request.get("LastModifiedTimeAfter", dt.datetime.min.replace(tzinfo=dt.UTC))
        and changed < request.get("LastModifiedTimeBefore", dt.datetime.max.replace(tzinfo=dt.UTC))
    )


def _position(token: str | None) -> int:
    if token is None:
        return 0
    if not token.isdecimal():
        raise validation("The NextToken is not one that a List operation returned.")
    return int(token)
