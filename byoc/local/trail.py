"""CloudTrail's event history: what was called, by whom, and what came of it.

Source: API Reference (CloudTrail), LookupEvents; CloudTrail User Guide, "CloudTrail record
contents". As on AWS, the history holds management events only. An event is written as raw bytes
when it happens, which takes microseconds, and made readable when somebody looks for it.
"""

import datetime as dt
import functools
import json
import re
import threading
import uuid
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import botocore.parsers
from botocore.exceptions import UnknownServiceError
from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape
from moto.core.request import Request, determine_request_protocol
from werkzeug.test import EnvironBuilder

from byoc.local import protocol
from byoc.local.call import Call
from byoc.local.errors import AWSError
from byoc.local.iam import Identity
from byoc.local.parsing import NAMES, parse
from byoc.local.service import Context, operation_of
from byoc.local.state import POSITION

KEPT = 10_000  # events of an account and region; AWS keeps 90 days
BODY = 16 * 1024  # bytes of a request or answer that are kept; larger ones are left out
PAGE = 50  # events of one answer, and the most of them

# Calls on data, not on resources: CloudTrail's event history does not have them.
# Source: CloudTrail User Guide, "Logging data events", and the services' own guides.
DATA = {
    "dynamodb": r"(Batch)?(Get|Put|Update|Delete|Write|Transact(Get|Write))\w*Items?|Query|Scan",
    "kinesis": r"PutRecords?|GetRecords|GetShardIterator|SubscribeToShard",
    "logs": r"PutLogEvents|GetLogEvents|FilterLogEvents|StartLiveTail",
    "monitoring": r"PutMetricData|GetMetricData|GetMetricStatistics|ListMetrics",
    "events": r"PutEvents",
    "sns": r"Publish(Batch)?",
    "sqs": r"(Send|Receive|Delete|ChangeMessageVisibility)(Message)?(Batch)?",
}
READS = re.compile(
    r"(Get|List|Describe|BatchGet|BatchCheck|BatchDescribe|Lookup|Search|Head|Simulate|Query|Filter|Test)"
)


def keeps(call: Call) -> bool:
    """Whether the call is a management event. The platform's own calls never come here."""
    service = call.service
    if service is None:
        return False
    if service == "sagemaker":
        return call.target[1] != ""  # the runtime's requests have none
    if service in ("s3", "s3express"):
        return not _on_objects(call)
    if service == "lambda":
        return not call.request.path.endswith("/invocations")
    pattern = DATA.get(service)
    return pattern is None or not re.fullmatch(pattern, call.operation or "")


def _on_objects(call: Call) -> bool:
    """Whether an S3 call is on objects, or lists them.

    Source: S3 User Guide, "Amazon S3 CloudTrail events".
    """
    bucket, _, key = call.request.path.lstrip("/").partition("/")
    if key or (call.request.host.count(".") and not call.request.host.startswith("127.")):
        return True
    listing = {"list-type", "versions", "uploads", "prefix", "delimiter", "max-keys"}
    arguments = set(call.request.args)
    return bool(bucket) and (
        call.request.method in ("HEAD", "POST")
        or (call.request.method == "GET" and (not arguments or bool(arguments & listing)))
    )


@dataclass(frozen=True)
class Record:
    """One call as it came and went."""

    time: float
    service: str
    caller: Identity
    who: tuple[str, str, str, str]  # kind, ARN, id and name, as they were at that time
    method: str
    url: str
    headers: dict[str, str]
    request: bytes
    status: int
    answer_headers: dict[str, str]
    answer: bytes
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @functools.cached_property
    def event(self) -> dict[str, Any]:
        """As CloudTrail writes it."""
        return _event(self)


class Trail:
    """The event histories of all accounts and regions."""

    def __init__(self) -> None:
        self._records: dict[tuple[str, str], deque[Record]] = {}
        self._lock = threading.Lock()

    def record(self, call: Call, status: int, headers: dict[str, str], body: bytes) -> None:
        """Add what was called and answered."""
        request, caller = call.request, call.caller
        record = Record(
            call.time,
            call.service or "",
            caller,
            (caller.kind, caller.arn, caller.user_id, caller.name),
            request.method,
            request.full_path if request.query_string else request.path,
            dict(request.headers),
            call.body if len(call.body) <= BODY else b"",
            status,
            headers,
            body if len(body) <= BODY else b"",
        )
        with self._lock:
            place = (caller.account, caller.region)
            self._records.setdefault(place, deque(maxlen=KEPT)).append(record)

    def of(self, account: str, region: str) -> list[Record]:
        """What is kept of an account and region, oldest first."""
        with self._lock:
            return list(self._records.get((account, region), ()))


@operation_of("cloudtrail")
def lookup_events(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """List the management calls of this account and region, newest first, at once (on AWS after
    minutes); insights are always empty."""
    if request.get("EventCategory") == "insight":
        return {"Events": []}  # no unusual activity is ever found
    start, end = request.get("StartTime"), request.get("EndTime")
    if start and end and start > end:
        raise AWSError(
            "InvalidTimeRangeException",
            "Time range is invalid: the start time must be before the end time.",
        )
    records = context.platform.trail.of(context.account, context.region)
    found = _matching(reversed(records), start, end, request.get("LookupAttributes", []))
    first = _position(request.get("NextToken"))
    size = request.get("MaxResults", PAGE)
    rows = [event for _, event in zip(range(first + size + 1), found, strict=False)]
    answer: dict[str, Any] = {"Events": [_row(r) for r in rows[first : first + size]]}
    if len(rows) > first + size:
        answer["NextToken"] = f"{first + size}"
    return answer


def _position(token: str | None) -> int:
    if token is not None and not POSITION.fullmatch(token):
        raise AWSError("InvalidNextTokenException", "The specified NextToken is not valid.")
    return 0 if token is None else int(token)


def _matching(
    records: Iterator[Record],
    start: dt.datetime | None,
    end: dt.datetime | None,
    attributes: list[dict[str, str]],
) -> Iterator[Record]:
    for record in records:
        moment = dt.datetime.fromtimestamp(record.time, dt.UTC)
        if (start and moment < start) or (end and moment > end):
            continue
        if all(_has(record, a["AttributeKey"], a["AttributeValue"]) for a in attributes):
            yield record


def _has(record: Record, key: str, value: str) -> bool:
    event = record.event
    if key in ("ResourceType", "ResourceName"):
        return any(resource.get(key) == value for resource in _resources(event))
    known = {
        "EventId": event["eventID"],
        "EventName": event["eventName"],
        "EventSource": event["eventSource"],
        "ReadOnly": str(event["readOnly"]).lower(),
        "Username": record.who[3],
        "AccessKeyId": record.caller.access_key,
    }
    return known[key] == value


def _row(record: Record) -> dict[str, Any]:
    event = record.event
    return {
        "EventId": event["eventID"],
        "EventName": event["eventName"],
        "ReadOnly": str(event["readOnly"]).lower(),
        "AccessKeyId": record.caller.access_key,
        "EventTime": dt.datetime.fromtimestamp(int(record.time), dt.UTC),
        "EventSource": event["eventSource"],
        "Username": record.who[3],
        "Resources": _resources(event),
        "CloudTrailEvent": json.dumps(event, default=str),
    }


def _event(record: Record) -> dict[str, Any]:
    name, model, parameters = _request(record)
    reads = READS.match(name) is not None
    event: dict[str, Any] = {
        "eventVersion": "1.11",
        "userIdentity": _identity(record),
        "eventTime": dt.datetime.fromtimestamp(record.time, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "eventSource": f"{_source(record, model)}.amazonaws.com",
        "eventName": name,
        "awsRegion": record.caller.region,
        "sourceIPAddress": "127.0.0.1",
        "userAgent": record.headers.get("User-Agent", ""),
        "requestParameters": parameters or None,
        "responseElements": None,
        "requestID": _request_id(record.answer_headers),
        "eventID": record.id,
        "readOnly": reads,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": record.caller.account,
        "eventCategory": "Management",
    }
    answer = _answer(record, model)
    if record.status >= 400:
        error = answer.get("Error", {})
        event["errorCode"] = error.get("Code") or f"{record.status}"
        event["errorMessage"] = error.get("Message", "")
    elif not reads and model is not None and model.output_shape is not None:
        answer.pop("ResponseMetadata", None)
        event["responseElements"] = _spelt(model.output_shape, answer) or None
    return event


def _identity(record: Record) -> dict[str, Any]:
    """Source: CloudTrail User Guide, "CloudTrail userIdentity element"."""
    kind, arn, user_id, name = record.who
    identity = {
        "type": kind,
        "principalId": user_id,
        "arn": arn,
        "accountId": record.caller.account,
        "accessKeyId": record.caller.access_key,
    }
    if kind == "IAMUser":
        identity["userName"] = name
    return identity


def _source(record: Record, model: OperationModel | None) -> str:
    prefix = model.service_model.endpoint_prefix if model is not None else record.service
    return prefix.removeprefix("api.")


def _request_id(headers: dict[str, str]) -> str:
    known = {name.lower(): value for name, value in headers.items()}
    return known.get("x-amzn-requestid") or known.get("x-amz-request-id") or ""


def _request(record: Record) -> tuple[str, OperationModel | None, dict[str, Any]]:
    """The operation's name and model, and its parameters spelt as CloudTrail does."""
    request = Request(
        EnvironBuilder(
            path=record.url.partition("?")[0],
            query_string=record.url.partition("?")[2],
            method=record.method,
            headers=list(record.headers.items()),
            data=record.request,
        ).get_environ()
    )
    try:
        model, parsed = parse(record.service, request, record.request)
    except Exception:  # neither we nor moto know the service, or the request is broken
        return _named(record, request), None, {}
    shape = model.input_shape
    spelt = _spelt(shape, parsed) if shape is not None and isinstance(parsed, dict) else {}
    return model.name, model, spelt


def _named(record: Record, request: Request) -> str:
    target = record.headers.get("X-Amz-Target", "").rpartition(".")[2]
    return target or request.values.get("Action") or f"{record.method} {request.path}"


def _answer(record: Record, model: OperationModel | None) -> dict[str, Any]:
    if model is None:
        return {}
    name = record.headers.get("Content-Type", "").partition(";")[0]
    kind = determine_request_protocol(model.service_model, name)
    parser = botocore.parsers.create_parser(kind)
    answer = {
        "status_code": record.status,
        "headers": {k.lower(): v for k, v in record.answer_headers.items()},
        "body": record.answer,
    }
    try:
        return parser.parse(answer, model.output_shape)
    except (botocore.parsers.ResponseParserError, ValueError):
        return {}


def _spelt(shape: Shape, value: Any) -> Any:
    """Members begin with a small letter, the keys of maps are the user's own, secrets hidden.

    A request that was refused may hold anything in any place.
    """
    if shape.metadata.get("sensitive"):
        return "HIDDEN_DUE_TO_SECURITY_REASONS"
    if isinstance(shape, StructureShape) and isinstance(value, dict):
        return {
            name[0].lower() + name[1:]: _spelt(member, value[name])
            for name, member in shape.members.items()
            if value.get(name) is not None
        }
    if isinstance(shape, MapShape) and isinstance(value, dict):
        return {key: _spelt(shape.value, member) for key, member in value.items()}
    if isinstance(shape, ListShape) and isinstance(value, list):
        return [_spelt(shape.member, member) for member in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


RESOURCE = re.compile(r"(?P<kind>[a-z]\w*?)(Name|Arn|ARN)")


def _resources(event: dict[str, Any]) -> list[dict[str, str]]:
    """What the event is about: the members that name or identify a resource of the service."""
    service = _service_id(event["eventSource"])
    about = re.sub("^(Create|Delete|Describe|Update|Stop|Put|Start)", "", event["eventName"])
    rows = []
    for members in (event["requestParameters"], event["responseElements"]):
        for name, value in (members or {}).items():
            if name == "bucket":
                name = "bucketName"
            match = RESOURCE.fullmatch(name)
            if match is None or not isinstance(value, str) or match["kind"] == "resource":
                continue
            kind = match["kind"][0].upper() + match["kind"][1:]
            kind = "Role" if kind == "ExecutionRole" else kind
            owner = "IAM" if kind == "Role" else service
            row = {"ResourceType": f"AWS::{owner}::{kind}", "ResourceName": value}
            if row not in rows:
                rows.append(row)
    return sorted(rows, key=lambda row: not row["ResourceType"].endswith(f"::{about}"))


@functools.cache
def _service_id(source: str) -> str:
    """How CloudFormation, and so CloudTrail, spells the service."""
    prefix = source.partition(".")[0]
    spelt = {"monitoring": "CloudWatch", "logs": "Logs", "states": "StepFunctions"}
    if prefix in spelt:
        return spelt[prefix]
    try:
        return protocol.service(NAMES.get(prefix, prefix)).service_id.replace(" ", "")
    except UnknownServiceError:
        return prefix
