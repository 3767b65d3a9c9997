"""Schedules that run: EventBridge's rules with a schedule, and EventBridge Scheduler.

moto keeps rules and schedules. Source: EventBridge User Guide, eb-create-rule-schedule;
EventBridge Scheduler User Guide, schedule-types, managing-targets-universal,
managing-schedule-context-attributes.
"""

import datetime as dt
import json
import logging
import threading
import uuid
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from moto.events.models import EventsBackend, Rule, events_backends
from moto.scheduler.exceptions import ValidationException
from moto.scheduler.models import EventBridgeSchedulerBackend, Schedule, scheduler_backends

from byoc.local import events, protocol, tags, timetable
from byoc.local.errors import AWSError, not_implemented
from byoc.local.owners import owner
from byoc.local.service import OPERATIONS, Context, Platform
from byoc.local.state import now

log = logging.getLogger(__name__)

UNIVERSAL = ":scheduler:::aws-sdk:"
PRINCIPAL = "scheduler.amazonaws.com"
MINUTE = dt.timedelta(minutes=1)  # a time is meant to the minute, also the one that has begun
_LOCK = threading.Lock()  # moto's schedules are shared by all local AWS of the process
# For each rule and schedule the expression that was read, and when it is due.
_DUE: "WeakKeyDictionary[Any, tuple[Any, dt.datetime | None]]" = WeakKeyDictionary()


def tick(platform: Platform, moment: dt.datetime | None = None) -> None:
    """Start what is due by now, or by `moment`, in the accounts this local AWS acts for."""
    moment = moment or now()
    for account, regions in list(events_backends.items()):
        for backend in list(regions.values()) if owner(account) is platform else ():
            for rule in list(backend.event_buses["default"].rules.values()):
                _tick_rule(rule, moment)
    for account, places in list(scheduler_backends.items()):
        for region, held in list(places.items()) if owner(account) is platform else ():
            context = Context(platform, account, region)
            for group in list(held.schedule_groups.values()):
                for schedule in list(group.schedules.values()):
                    _tick_schedule(context, group, schedule, moment)


def _tick_rule(rule: Rule, moment: dt.datetime) -> None:
    if rule.scheduled_expression and rule.state != "DISABLED":
        with _LOCK:
            due = _due(rule, rule.scheduled_expression, "UTC", moment, None)
        if due:
            _run_rule(rule, due)


def _tick_schedule(context: Context, group: Any, schedule: Schedule, moment: dt.datetime) -> None:
    start, end = _moment(schedule.start_date), _moment(schedule.end_date)
    if schedule.state == "DISABLED" or (start and moment < start) or (end and moment > end):
        return
    expression, zone = schedule.schedule_expression, schedule.schedule_expression_timezone
    created = dt.datetime.fromtimestamp(schedule.creation_date, dt.UTC)
    with _LOCK:
        due = _due(schedule, expression, zone, moment, start or created)
    if due is None:
        return
    _run_schedule(context, schedule, due)
    if schedule.action_after_completion == "DELETE" and _DUE[schedule][1] is None:
        group.schedules.pop(schedule.name, None)


def _due(
    thing: Any, expression: str, zone: str, moment: dt.datetime, first: dt.datetime | None
) -> dt.datetime | None:
    """The time for which it is due, if it is; and remember the next.

    `first` is when a rate begins: a schedule's first run is then, a rule's one rate later.
    """
    period = timetable.rate(expression)
    known, due = _DUE.get(thing, (None, None))
    if known != (expression, zone):
        if period:
            due = first or moment + period
        else:
            late = MINUTE if expression.startswith("at(") else dt.timedelta()
            due = timetable.next_run(expression, (first or moment) - late, zone)
        _DUE[thing] = (expression, zone), due
    if due is None or due > moment:
        return None
    following = moment + period if period else timetable.next_run(expression, moment, zone)
    _DUE[thing] = (expression, zone), following
    return due


def _run_rule(rule: Rule, due: dt.datetime) -> None:
    event = {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": rule.account_id,
        "time": due.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": rule.region_name,
        "resources": [rule.arn],
        "detail": {},
    }
    for target in list(rule.targets):
        events.deliver(rule, target, event)


def _run_schedule(context: Context, schedule: Schedule, due: dt.datetime) -> None:
    """Call the target once; what fails goes to the dead-letter queue, and into the log."""
    target = schedule.target
    text, execution = target.get("Input", "{}"), str(uuid.uuid4())
    for name, value in {
        "schedule-arn": schedule.arn,
        "scheduled-time": due.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "execution-id": execution,
        "attempt-number": "1",
    }.items():
        text = text.replace(f"<aws.scheduler.{name}>", value)
    try:
        if UNIVERSAL in target["Arn"]:
            _call(context, target["Arn"], text)
        else:
            events.send_to_target(target, text, events.Delivery(PRINCIPAL, execution))
    except Exception as error:  # whatever the operation or moto raises
        log.warning("the schedule %s could not start %s: %r", schedule.name, target["Arn"], error)
        letters = target.get("DeadLetterConfig", {}).get("Arn")
        if letters:
            events.dead_letter(letters, text)


def _call(context: Context, arn: str, text: str) -> None:
    """The operation of SageMaker that a universal target names, with its input."""
    name = _operation(arn)
    request = protocol.parse(name, text.encode())
    tags.check_given(request)
    OPERATIONS["sagemaker"][name](context, request)


def _operation(arn: str) -> str:
    """`CreateTrainingJob` of `arn:aws:scheduler:::aws-sdk:sagemaker:createTrainingJob`."""
    service, _, method = arn.rpartition(UNIVERSAL)[2].partition(":")
    name = method[:1].upper() + method[1:]
    if service != "sagemaker":
        raise not_implemented(f"EventBridge Scheduler's universal target {service}:{method}")
    if name not in protocol.service().operation_names:
        raise ValidationException(f"Invalid target ARN: {arn}")
    if name.startswith(("Describe", "Get", "List", "BatchDescribe")):
        raise ValidationException(f"Read-only operations can't be targets: {arn}")
    if name not in OPERATIONS["sagemaker"]:
        raise not_implemented(f"SageMaker's {name}")
    return name


def _check(expression: str, zone: str | None, target: dict[str, Any]) -> None:
    try:
        if timetable.rate(expression) is None:
            ZoneInfo(zone or "UTC")
            timetable.next_run(expression, now(), zone or "UTC")
    except ZoneInfoNotFoundError:
        raise ValidationException(f"Invalid ScheduleExpressionTimezone {zone}.") from None
    except ValueError:
        raise ValidationException(f"Invalid Schedule Expression {expression}.") from None
    if UNIVERSAL in target["Arn"]:
        _operation(target["Arn"])
        try:
            json.loads(target.get("Input", "{}"))
        except ValueError:
            raise ValidationException("Input is not valid JSON.") from None
    else:
        service = (target["Arn"].split(":") + [""] * 3)[2]
        if service not in ("sqs", "sns", "states"):
            raise not_implemented(f"EventBridge Scheduler's targets of the service {service}")


def _checked(method: Callable[..., Schedule]) -> Callable[..., Schedule]:
    """Refuse a schedule that would never start anything (moto: keeps it)."""

    def corrected(self: EventBridgeSchedulerBackend, **members: Any) -> Schedule:
        zone = members["schedule_expression_timezone"]
        _check(members["schedule_expression"], zone, members["target"])
        return method(self, **members)

    return corrected


def _put_rule(method: Callable[..., Rule]) -> Callable[..., Rule]:
    """Refuse a schedule expression that can't be read."""

    def corrected(self: Any, *places: Any, **members: Any) -> Rule:
        expression = members.get("scheduled_expression")
        if expression:
            try:
                if timetable.rate(expression) is None and not expression.startswith("at("):
                    timetable.next_run(expression, now())
            except ValueError:
                raise AWSError(
                    "ValidationException", "Parameter ScheduleExpression is not valid."
                ) from None
        return method(self, *places, **members)

    return corrected


def _moment(given: Any) -> dt.datetime | None:
    if given is None or isinstance(given, dt.datetime):
        return given
    return dt.datetime.fromtimestamp(float(given), dt.UTC)


CORRECTIONS: tuple[tuple[type, str, Callable[..., Any]], ...] = (
    *(
        (EventBridgeSchedulerBackend, name, _checked(getattr(EventBridgeSchedulerBackend, name)))
        for name in ("create_schedule", "update_schedule")
    ),
    (EventsBackend, "put_rule", _put_rule(EventsBackend.put_rule)),
)
