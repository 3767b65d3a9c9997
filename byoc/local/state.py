"""All that the local SageMaker knows, in one place: keyed by account, region, kind and name."""

import base64
import datetime as dt
import functools
import json
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from byoc.local.errors import validation

POSITION = re.compile(r"[0-9]{1,9}")  # a token that says how many entries have gone before
PAGE = 10  # entries of a List answer when MaxResults is absent. Source: ListEndpoints


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
    default_sort: str = "CreationTime",
    number: str | None = None,
    created_after_includes: bool = True,
) -> dict[str, Any]:
    """The answer of a List operation: sorted, cut, then filtered as the request asks.

    A page of MaxResults is taken first and filtered then, so it may be empty and not the last one.
    `name` and `status` are the summary's members that NameContains, StatusEquals and SortBy mean;
    `number` is one of its members by which SortBy may order, under that very name;
    `created_after_includes`: whether CreationTimeAfter allows that very moment.
    Source: API Reference, ListTrainingJobs, ListModels, ListEndpointConfigs, ListEndpoints; that
    every filter comes after the cut: aws/aws-sdk#701, boto/boto3#2838 and #2973.
    """
    keys = {"Name": name, "Status": status or name, number: number}
    key = keys.get(request.get("SortBy", default_sort)) or "CreationTime"
    kind_of_key = float if key == number else str
    descending = request.get("SortOrder", request.get("OrderKey", default_order)) == "Descending"

    def place(row: dict[str, Any]) -> list[Any]:
        created = row["CreationTime"].isoformat(timespec="microseconds")
        return [created if key == "CreationTime" else row[key], created, row[name]]

    kind = [member, key, "Descending" if descending else "Ascending"]
    rows = sorted(map(summary, resources), key=place, reverse=descending)
    if "NextToken" in request:
        last = _place_of(request["NextToken"], kind, kind_of_key)
        rows = [row for row in rows if (place(row) < last if descending else place(row) > last)]
    size = request.get("MaxResults", PAGE)
    wanted = functools.partial(_wanted, request, name, status, created_after_includes)
    answer: dict[str, Any] = {member: [row for row in rows[:size] if wanted(row)]}
    if size < len(rows):
        token = json.dumps([kind, place(rows[size - 1])])
        answer["NextToken"] = base64.urlsafe_b64encode(token.encode()).decode()
    return answer


def _wanted(
    request: dict[str, Any],
    name: str,
    status: str | None,
    created_after_includes: bool,
    row: dict[str, Any],
) -> bool:
    created, changed = row["CreationTime"], row.get("LastModifiedTime", row["CreationTime"])
    first = request.get("CreationTimeAfter", dt.datetime.min.replace(tzinfo=dt.UTC))
    return (
        request.get("NameContains", "").lower() in row[name].lower()
        and (status is None or request.get("StatusEquals", row[status]) == row[status])
        and (created > first or (created_after_includes and created == first))
        and created < request.get("CreationTimeBefore", dt.datetime.max.replace(tzinfo=dt.UTC))
        and changed > request.get("LastModifiedTimeAfter", dt.datetime.min.replace(tzinfo=dt.UTC))
        and changed < request.get("LastModifiedTimeBefore", dt.datetime.max.replace(tzinfo=dt.UTC))
    )


def _place_of(token: str, kind: list[str], kind_of_key: type) -> list[Any]:
    """Where the page before ended: tokens name a place, so that what is deleted moves nothing."""
    try:
        given, place = json.loads(base64.urlsafe_b64decode(token))
        place = [kind_of_key(place[0]), *(f"{part}" for part in place[1:])]
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError):
        given, place = None, []
    if given != kind:
        raise validation("The NextToken is not one that this List operation returned.")
    return place
