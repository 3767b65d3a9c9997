"""Events of SageMaker and CloudWatch on EventBridge's default bus, and their way to the targets.

moto keeps buses, rules and targets and matches the patterns; what it does not deliver, or delivers
otherwise than AWS, is done here.
Source: Developer Guide, automating-sagemaker-with-eventbridge; EventBridge User Guide, eb-targets,
eb-transform-target-input.
"""

import datetime as dt
import json
import logging
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, cast

from moto.events.models import EventPattern, EventsBackend, Rule, events_backends
from moto.logs.models import logs_backends
from moto.sns.models import sns_backends
from moto.sqs.models import sqs_backends
from moto.utilities.arns import Arn, parse_arn

from byoc.local import protocol, transformer
from byoc.local.errors import AWSError, not_implemented
from byoc.local.owners import owner
from byoc.local.state import now

log = logging.getLogger(__name__)

_DELIVERY = ThreadPoolExecutor(1, "events")  # one thread: events keep their order

# What DescribeX answers is the detail of these events: how they are called, and by which operation.
KINDS = {
    "training-job": ("Training Job", "DescribeTrainingJob"),
    "processing-job": ("Processing Job", "DescribeProcessingJob"),
    "transform-job": ("Transform Job", "DescribeTransformJob"),
    "hyper-parameter-tuning-job": ("HyperParameter Tuning Job", "DescribeHyperParameterTuningJob"),
    "endpoint": ("Endpoint", "DescribeEndpoint"),
    "model-package": ("Model Package", "DescribeModelPackage"),
}
# An endpoint's statuses are written otherwise in events than by DescribeEndpoint.
ENDPOINT_STATUSES = {
    "Creating": "CREATING",
    "Deleting": "DELETING",
    "Failed": "FAILED",
    "InService": "IN_SERVICE",
    "OutOfService": "OUT_OF_SERVICE",
    "RollingBack": "ROLLING_BACK",
    "SystemUpdating": "SYSTEM_UPDATING",
    "UpdateRollbackFailed": "UPDATE_ROLLBACK_FAILED",
    "Updating": "UPDATING",
}


class Delivery(NamedTuple):
    """Who hands a text to a target, and what the delivery is called: the same if it comes again."""

    principal: str
    name: str


def changed(kind: str, arn: str, data: dict[str, Any]) -> None:
    """Send the event that a SageMaker resource has a new status.

    `kind` is the table's name, one of KINDS; `data` is what its Describe operation answers.
    Call it at each change, also while the state's lock is held: delivery happens elsewhere.
    """
    words, operation = KINDS[kind]
    shape = protocol.service().operation_model(operation).output_shape
    assert shape is not None
    detail = {name: data[name] for name in shape.members if data.get(name) is not None}
    detail["Tags"] = _tags(arn)
    if kind == "endpoint":
        detail["EndpointStatus"] = ENDPOINT_STATUSES[detail["EndpointStatus"]]
    moment = _iso if kind == "model-package" else _milliseconds
    text = json.dumps(detail, default=moment)
    send("aws.sagemaker", f"SageMaker {words} State Change", arn, text)


def send(source: str, detail_type: str, arn: str, detail: str) -> None:
    """Put an event of an AWS service about the resource onto the default bus of its account.

    `detail` is JSON. It is delivered after this function has returned.
    """
    place = parse_arn(arn)
    event = {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": detail_type,
        "source": source,
        "account": place.account,
        "time": _iso(now()),
        "region": place.region,
        "resources": [arn],
        "detail": json.loads(detail),
    }
    _DELIVERY.submit(_match, place, event)


def send_to_targets(rule: Rule, event: dict[str, Any], transform_input: bool = True) -> None:
    """Deliver an event to each target of the rule, if the rule is enabled and matches it.

    A target that can't be reached does not keep the others from theirs.
    """
    if rule.state == "DISABLED" or not rule.event_pattern.get_pattern():
        return  # moto: a schedule's rule, which has no pattern, would match everything
    event = {k: v for k, v in event.items() if k not in ("ingestion-time", "archive-arn")} | {
        "time": _time(event["time"])
    }
    archives = [t for t in rule.targets if t["Arn"].endswith(":::")]
    if archives:
        _moto_send_to_targets(rule, cast(Any, event), transform_input)
    elif rule.event_pattern.matches_event(cast(Any, event)):
        for target in list(rule.targets):
            deliver(rule, target, event)


def deliver(rule: Rule, target: dict[str, Any], event: dict[str, Any]) -> None:
    """Send what the target's input settings make of the event; a failure goes to its dead-letter
    queue, if it has one, and into the log."""
    place = uuid.uuid5(uuid.NAMESPACE_URL, f"{rule.arn}/{target['Id']}")
    delivery = Delivery("events.amazonaws.com", f"{event['id']}_{place}")
    try:
        send_to_target(target, transformer.input_of(rule.arn, target, event), delivery)
    except Exception as error:  # whatever moto raises for what is not there
        log.warning("the rule %s could not reach %s: %r", rule.name, target["Arn"], error)
        letters = target.get("DeadLetterConfig", {}).get("Arn")
        if letters:
            dead_letter(letters, json.dumps(event))


def send_to_target(target: dict[str, Any], text: str, delivery: Delivery) -> None:
    """Hand the text to a target; raises what moto raises where it is gone."""
    arn = parse_arn(target["Arn"])
    SENDERS[arn.service](arn, target, text, delivery)


def _match(place: Arn, event: dict[str, Any]) -> None:
    backend = events_backends[place.account][place.region]
    for rule in list(backend.event_buses["default"].rules.values()):
        try:
            send_to_targets(rule, event)
        except Exception:  # a pattern that moto can't match must not stop the other rules
            log.exception("the rule %s", rule.name)


def dead_letter(arn: str, body: str) -> None:
    """Put what could not be delivered into the queue with this ARN, if it is there."""
    queue = parse_arn(arn)
    try:
        sqs_backends[queue.account][queue.region].send_message(queue.resource_id, body)
    except Exception as error:
        log.warning("no dead-letter queue %s: %r", queue.resource_id, error)


def _to_queue(arn: Arn, target: dict[str, Any], text: str, _: Delivery) -> None:
    group = target.get("SqsParameters", {}).get("MessageGroupId")
    backend = sqs_backends[arn.account][arn.region]
    backend.send_message(arn.resource_id, text, group_id=group)


def _to_topic(arn: Arn, target: dict[str, Any], text: str, _: Delivery) -> None:
    sns_backends[arn.account][arn.region].publish(text, arn=target["Arn"])


def _to_log_group(arn: Arn, target: dict[str, Any], text: str, _: Delivery) -> None:
    backend = logs_backends[arn.account][arn.region]
    group, stream = arn.resource_id.removesuffix(":*"), str(uuid.uuid4())
    backend.create_log_stream(group, stream)
    moment = int(now().timestamp() * 1000)
    backend.put_log_events(group, stream, [{"timestamp": moment, "message": text}])


def _to_bus(arn: Arn, target: dict[str, Any], text: str, _: Delivery) -> None:
    """An event stays the account's from which it comes: only its bus is another."""
    bus = events_backends[arn.account][arn.region].event_buses[arn.resource_id]
    for rule in list(bus.rules.values()):
        send_to_targets(rule, json.loads(text))


# By the service of the target's ARN; other modules add theirs.
SENDERS: dict[str, Callable[[Arn, dict[str, Any], str, Delivery], None]] = {
    "sqs": _to_queue,
    "sns": _to_topic,
    "logs": _to_log_group,
    "events": _to_bus,
}


def _put_targets(self: EventsBackend, name: str, event_bus_arn: Any, targets: Any) -> None:
    """Refuse targets to which nothing would be delivered (moto: keeps them)."""
    for target in targets:
        service = (target["Arn"].split(":") + [""] * 3)[2]
        if target["Arn"].startswith("arn:") and service not in SENDERS:
            raise not_implemented(f"EventBridge's targets of the service {service}")
        if service == "states" and "RoleArn" not in target:
            words = f"RoleArn is required for target {target['Arn']}."
            raise AWSError("ValidationException", words)
        if ":api-destination/" in target["Arn"]:
            raise not_implemented("EventBridge's API destinations as targets")
        transformer.check(target)
    _moto_put_targets(self, name, event_bus_arn, targets)


def _flatten_dict(
    node: dict[str, Any], prefix: str = "", result: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The event's leaves by their dotted path; what lies in objects of a list matches too."""
    result = {} if result is None else result
    for name, value in node.items():
        path = f"{prefix}.{name}" if prefix else name
        if isinstance(value, dict) and value:
            _flatten_dict(value, path, result)
        elif isinstance(value, list) and any(isinstance(row, dict) for row in value):
            for row in (row for row in value if isinstance(row, dict)):
                for leaf, found in _flatten_dict(row, path).items():
                    known = result.setdefault(leaf, [])
                    known += found if isinstance(found, list) else [found]
        else:
            result[path] = value
    return result


_moto_send_to_targets, _moto_put_targets = Rule.send_to_targets, EventsBackend.put_targets
CORRECTIONS: tuple[tuple[type, str, Callable[..., Any]], ...] = (
    (Rule, "send_to_targets", send_to_targets),
    (EventsBackend, "put_targets", _put_targets),
    (EventPattern, "_flatten_dict", staticmethod(_flatten_dict)),
)


def _tags(arn: str) -> dict[str, str]:
    platform = owner(arn.split(":")[4])
    resource = platform.state.by_arn(arn) if platform else None
    return dict(resource.tags) if resource else {}


def _time(given: Any) -> str:
    """An event's time as it is delivered; moto has seconds since the epoch, or a text."""
    if isinstance(given, str) and not given.replace(".", "").isdigit():
        return given
    if not isinstance(given, dt.datetime):
        given = dt.datetime.fromtimestamp(float(given), dt.UTC)
    return _iso(given)


def _iso(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _milliseconds(moment: dt.datetime) -> int:
    return int(moment.timestamp() * 1000)
