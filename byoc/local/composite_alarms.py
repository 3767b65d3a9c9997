"""Composite alarms, whose state follows other alarms' by a rule (moto: only keeps them).

Source: API Reference, PutCompositeAlarm, DeleteAlarms, DescribeAlarms, SetAlarmState; CloudWatch
User Guide, cloudwatch-and-eventbridge. Public reports show the errors' words.
"""

import json
from collections.abc import Callable
from typing import Any

from moto.cloudwatch.exceptions import ValidationError
from moto.cloudwatch.models import Alarm, CloudWatchBackend
from moto.cloudwatch.responses import CloudWatchResponse
from moto.core.responses import ActionResult, EmptyResult

from byoc.local import alarm_expressions
from byoc.local.alarm_changes import LOCK, MEMBERS, enter, kind_of, remember, stamp, take_over
from byoc.local.alarm_expressions import Expression
from byoc.local.alarm_rules import ALARM, OK, UNKNOWN
from byoc.local.errors import not_implemented

REFUSED = (
    "ActionsSuppressor",
    "ActionsSuppressorWaitPeriod",
    "ActionsSuppressorExtensionPeriod",
    "ActionConfiguration",
)
METRIC = (  # what moto's alarm says of a metric
    "namespace",
    "metric_name",
    "metric_data_queries",
    "comparison_operator",
    "evaluation_periods",
    "datapoints_to_alarm",
    "period",
    "threshold",
    "statistic",
    "extended_statistic",
    "unit",
    "treat_missing_data",
    "evaluate_low_sample_count_percentile",
    "threshold_metric_id",
)
ACTIONS = ("AlarmActions", "OKActions", "InsufficientDataActions")


def evaluate(backend: CloudWatchBackend) -> None:
    """Bring each composite alarm to the state that its rule gives, where an alarm in it changed."""
    with LOCK:
        settled: set[str] = set()
        for alarm in list(backend.alarms.values()):
            if alarm.rule is not None:
                _settle(backend, alarm, (), settled)


def _settle(
    backend: CloudWatchBackend, alarm: Alarm, path: tuple[str, ...], settled: set[str]
) -> bool:
    """First the composite alarms in its rule; False if it depends on itself, and so stays."""
    if alarm.name in settled:
        return True
    if alarm.name in path:
        return False
    expression = alarm_expressions.parse(alarm.rule or "")
    children = {
        written: backend.alarms[name]
        for written in expression.alarms
        if (name := _name(backend, written)) in backend.alarms
    }
    for child in children.values():
        below = (*path, alarm.name)
        if child.rule is not None and not _settle(backend, child, below, settled):
            return False
    settled.add(alarm.name)
    _follow(alarm, expression, children)
    return True


def _follow(alarm: Alarm, expression: Expression, children: dict[str, Alarm]) -> None:
    """A state that was set by hand stays until a child changes its own."""
    states = {written: child.state_value for written, child in children.items()}
    seen = getattr(alarm, "seen", None)
    if seen == states:
        return
    setattr(alarm, "seen", states)  # noqa: B010  (moto's class has no such member)
    state = ALARM if expression.holds(states) else OK
    if state == alarm.state_value:
        return
    if seen is None:
        triggers = list(children.values())
        put = "created" if alarm.state_value == UNKNOWN else "updated"
        reason = f"{alarm.alarm_arn} was {put} and its alarm rule evaluates to {state}"
    else:
        triggers = [c for written, c in children.items() if seen.get(written) != c.state_value]
        last = max(triggers, key=lambda child: child.state_updated_timestamp)
        moment = f"{last.state_updated_timestamp:%A %d %B, %Y %H:%M:%S} UTC"
        reason = f"{last.alarm_arn} transitioned to {last.state_value} at {moment}"
    data = {"triggeringAlarms": [_trigger(child) for child in triggers]}
    enter(alarm, state, reason, json.dumps(data))


def _trigger(child: Alarm) -> dict[str, Any]:
    moment = stamp(child.state_updated_timestamp)
    return {"arn": child.alarm_arn, "state": {"value": child.state_value, "timestamp": moment}}


def _name(backend: CloudWatchBackend, written: str) -> str:
    """The name of an alarm that is written as a name or as an ARN of this account and region."""
    place = f":cloudwatch:{backend.region_name}:{backend.account_id}:alarm:"
    return written.partition(place)[2] if written.startswith("arn:") else written


def _put_composite_alarm(self: CloudWatchResponse) -> EmptyResult:
    """A new one has no data, and its rule is looked at; one that is changed keeps its state."""
    name, rule = self._get_param("AlarmName"), self._get_param("AlarmRule")
    backend = self.cloudwatch_backend
    for member in REFUSED:
        if self._get_param(member) is not None:
            raise not_implemented(f"PutCompositeAlarm with {member}")
    for action in (action for member in ACTIONS for action in self._get_param(member, [])):
        if not action.startswith("arn:") or action.split(":")[2] != "sns":
            raise not_implemented(f"PutCompositeAlarm with the action {action}")
    with LOCK:
        old = backend.alarms.get(name)
        if old is not None and old.rule is None:
            raise ValidationError(f"There is a metric alarm with the name {name}.")
        _check(backend, rule)
        alarm = _alarm(self, backend, name, rule)
        if old is not None:
            take_over(alarm, old)
        elif tags := self._get_param("Tags", []):
            backend.tagger.tag_resource(alarm.alarm_arn, tags)
        backend.alarms[name] = alarm
        change = "created" if old is None else "updated"
        remember(alarm, "ConfigurationUpdate", f'Alarm "{name}" {change}', {})
        evaluate(backend)
    return EmptyResult()


def _check(backend: CloudWatchBackend, rule: str) -> None:
    """Raise ValidationError for a rule that can't be read, or names what is not there."""
    if "AT_LEAST" in rule:
        raise not_implemented("PutCompositeAlarm with AT_LEAST in its rule")
    try:
        expression = alarm_expressions.parse(rule)
    except ValueError as error:
        raise ValidationError(f"AlarmRule {error}") from None
    missing = [a for a in expression.alarms if _name(backend, a) not in backend.alarms]
    if missing:
        raise ValidationError(
            f"Could not save the composite alarm as alarms [{', '.join(missing)}] in the alarm "
            "rule do not exist"
        )


def _alarm(request: CloudWatchResponse, backend: CloudWatchBackend, name: str, rule: str) -> Alarm:
    """moto's alarm, of which nothing but the rule says what it looks at."""
    nothing: dict[str, Any] = dict.fromkeys(METRIC)
    alarm = Alarm(
        account_id=backend.account_id,
        region_name=backend.region_name,
        name=name,
        rule=rule,
        description=request._get_param("AlarmDescription"),
        dimensions=[],
        actions_enabled=request._get_bool_param("ActionsEnabled"),
        **{member: request._get_param(given, []) for member, given in _MEMBERS.items()},
        **nothing,
    )
    alarm.state_value = UNKNOWN
    return alarm


_MEMBERS = {MEMBERS[ALARM]: ACTIONS[0], MEMBERS[OK]: ACTIONS[1], MEMBERS[UNKNOWN]: ACTIONS[2]}


def _delete_alarms(self: CloudWatchBackend, alarm_names: list[str]) -> None:
    """One composite alarm at a time, and none that another's rule names."""
    with LOCK:
        wanted = [name for name in alarm_names if name in self.alarms]
        if sum(self.alarms[name].rule is not None for name in wanted) > 1:
            raise ValidationError("At most one composite alarm can be deleted at a time.")
        rules = [alarm.rule for alarm in self.alarms.values() if alarm.rule is not None]
        named = {_name(self, a) for rule in rules for a in alarm_expressions.parse(rule).alarms}
        if held := [name for name in wanted if name in named]:
            them = "it" if len(held) == 1 else "them"
            raise ValidationError(
                f"Cannot delete {','.join(held)} as there are composite alarm(s) depending on "
                f"{them}."
            )
        for name in wanted:  # moto: the next alarm of this name would have the tags
            self.tagger.delete_all_tags_for_resource(self.alarms[name].alarm_arn)
        _moto_delete_alarms(self, wanted)


def _describe_alarms(self: CloudWatchResponse) -> ActionResult:
    """Of the kinds that are asked for, else of metric alarms (moto: of all)."""
    for member in ("ChildrenOfAlarmName", "ParentsOfAlarmName"):
        if self._get_param(member):
            raise not_implemented(f"DescribeAlarms with {member}")
    kinds = self._get_param("AlarmTypes", []) or ["MetricAlarm"]
    found: Any = _moto_describe_alarms(self).result
    rows = [a for alarms in found.values() for a in alarms if kind_of(a) in kinds]
    return ActionResult(
        {f"{kind}s": [a for a in rows if kind_of(a) == kind] for kind in sorted(kinds)}
    )


_moto_delete_alarms = CloudWatchBackend.delete_alarms
_moto_describe_alarms = CloudWatchResponse.describe_alarms
CORRECTIONS: tuple[tuple[type, str, Callable[..., Any]], ...] = (
    (CloudWatchResponse, "put_composite_alarm", _put_composite_alarm),
    (CloudWatchResponse, "describe_alarms", _describe_alarms),
    (CloudWatchBackend, "delete_alarms", _delete_alarms),
)
