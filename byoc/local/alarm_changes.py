"""What a change of an alarm's state brings: its history, an event, its actions.

Source: CloudWatch User Guide, cloudwatch-and-eventbridge, alarm-evaluation and
Create_Composite_Alarm, with the messages to SNS.
"""

import datetime as dt
import functools
import json
import logging
import threading
import uuid
from typing import Any

from botocore.loaders import Loader
from moto.cloudwatch.models import Alarm
from moto.sns.models import sns_backends
from moto.utilities.arns import parse_arn

from byoc.local import events
from byoc.local.alarm_rules import UNKNOWN, Rule
from byoc.local.state import now

log = logging.getLogger(__name__)

MINUTE = 60  # AWS looks at a standard alarm at each full minute
MEMBERS = {"ALARM": "alarm_actions", "OK": "ok_actions", UNKNOWN: "insufficient_data_actions"}
LOCK = threading.RLock()  # moto's alarms are shared by all local AWS of the process


def enter(alarm: Alarm, state: str, reason: str, data: str) -> None:
    """Change the state: history, event, actions."""
    before = _state(alarm)
    alarm.state_value, alarm.state_reason, alarm.state_reason_data = state, reason, data
    alarm.state_updated_timestamp = now().replace(tzinfo=None)
    setattr(alarm, "state_transitioned_timestamp", alarm.state_updated_timestamp)  # noqa: B010
    remember(
        alarm,
        "StateUpdate",
        f"Alarm updated from {before['value']} to {state}",
        {"oldState": _history(before), "newState": _history(_state(alarm))},
    )
    detail = {
        "alarmName": alarm.name,
        "configuration": _configuration(alarm),
        "previousState": before,
        "state": _state(alarm),
    }
    events.send(
        "aws.cloudwatch", "CloudWatch Alarm State Change", alarm.alarm_arn, json.dumps(detail)
    )
    if alarm.actions_enabled:
        for action in getattr(alarm, MEMBERS[state]) or []:
            _act(alarm, action, before["value"])


def take_over(alarm: Alarm, old: Alarm) -> None:
    """Give an alarm that takes the place of another its state and its history."""
    for member in ("value", "reason", "reason_data", "updated_timestamp", "transitioned_timestamp"):
        setattr(alarm, f"state_{member}", getattr(old, f"state_{member}", None))
    alarm.history = old.history


def _act(alarm: Alarm, action: str, before: str) -> None:
    """Publish to the topic; scaling policies look at their alarms themselves."""
    topic = parse_arn(action)
    if topic.service != "sns":
        return
    message = json.dumps(_message(alarm, before))
    subject = f'{alarm.state_value}: "{alarm.name}" in {_region(alarm.region_name)}'[:100]
    try:
        sns_backends[topic.account][topic.region].publish(message, arn=action, subject=subject)
    except Exception as error:  # whatever moto raises for a topic that is gone
        log.warning("the alarm %s could not reach %s: %r", alarm.name, action, error)
        remember(alarm, "Action", f"Failed to execute action {action}", {"error": f"{error}"})
    else:
        remember(alarm, "Action", f"Successfully executed action {action}", {})


def _children(alarm: Alarm) -> list[dict[str, Any]]:
    try:
        return [
            {"Arn": c["arn"], "State": {name.capitalize(): v for name, v in c["state"].items()}}
            for c in json.loads(alarm.state_reason_data)["triggeringAlarms"]
        ]
    except (AttributeError, KeyError, TypeError):  # the data are SetAlarmState's, and anything
        return []


def _trigger(alarm: Alarm) -> dict[str, Any]:
    """What the message to SNS says of the reason: a metric, or other alarms."""
    if alarm.rule is not None:
        return {"AlarmRule": alarm.rule, "TriggeringChildren": _children(alarm)}
    namespace, name, dimensions, period, statistic, unit = watched(alarm) or _NOTHING
    rule = rule_of(alarm)
    extended = statistic.startswith("p")
    trigger = {
        "MetricName": name,
        "Namespace": namespace,
        "StatisticType": "ExtendedStatistic" if extended else "Statistic",
        **({"ExtendedStatistic": statistic} if extended else {"Statistic": statistic.upper()}),
        "Unit": unit,
        "Dimensions": [{"value": value, "name": key} for key, value in dimensions],
        "Period": period,
        "EvaluationPeriods": rule.periods,
        "DatapointsToAlarm": rule.needed,
        "ComparisonOperator": rule.comparison,
        "Threshold": rule.threshold,
        "TreatMissingData": rule.missing,
        "EvaluateLowSampleCountPercentile": alarm.evaluate_low_sample_count_percentile or "",
    }
    changed = stamp(alarm.configuration_updated_timestamp)
    return {"AlarmConfigurationUpdatedTimestamp": changed, "Trigger": trigger}


def _message(alarm: Alarm, before: str) -> dict[str, Any]:
    return {
        "AlarmName": alarm.name,
        "AlarmDescription": alarm.description,
        "AWSAccountId": parse_arn(alarm.alarm_arn).account,
        "NewStateValue": alarm.state_value,
        "NewStateReason": alarm.state_reason,
        "StateChangeTime": stamp(alarm.state_updated_timestamp),
        "Region": _region(alarm.region_name),
        "AlarmArn": alarm.alarm_arn,
        "OldStateValue": before,
        "OKActions": alarm.ok_actions,
        "AlarmActions": alarm.alarm_actions,
        "InsufficientDataActions": alarm.insufficient_data_actions,
        **_trigger(alarm),
    }


def _configuration(alarm: Alarm) -> dict[str, Any]:
    described = {"description": alarm.description} if alarm.description else {}
    if alarm.rule is not None:
        return described | {"alarmRule": alarm.rule}
    namespace, name, dimensions, period, statistic, _ = watched(alarm) or _NOTHING
    metric = {"dimensions": dict(dimensions), "name": name, "namespace": namespace}
    query = {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, alarm.alarm_arn)),
        "metricStat": {"metric": metric, "period": period, "stat": statistic},
        "returnData": True,
    }
    return described | {"metrics": [query]}


_NOTHING: tuple[str, str, list[tuple[str, str]], int, str, None] = ("", "", [], MINUTE, "", None)


def watched(alarm: Alarm) -> tuple[str, str, list[tuple[str, str]], int, str, str | None] | None:
    """Namespace, name, dimensions, period, statistic and unit of what the alarm looks at."""
    if alarm.rule is not None:
        return None
    if not alarm.metric_data_queries:
        statistic = alarm.extended_statistic or alarm.statistic
        place = (alarm.namespace, alarm.metric_name, dimensions_of(alarm))
        return (*place, int(alarm.period), statistic, alarm.unit)
    stat = alarm.metric_data_queries[0].metric_stat
    if stat is None:
        return None
    place = (stat.metric.namespace, stat.metric.metric_name, dimensions_of(stat.metric))
    return (*place, int(stat.period), stat.stat, stat.unit)


def rule_of(alarm: Alarm) -> Rule:
    """The numbers of a metric alarm."""
    periods = int(alarm.evaluation_periods)
    return Rule(
        alarm.comparison_operator,
        float(alarm.threshold),
        periods,
        int(alarm.datapoints_to_alarm or periods),
        alarm.treat_missing_data or "missing",
    )


def dimensions_of(datum: Any) -> list[tuple[str, str]]:
    """Names and values, sorted, of what has dimensions."""
    return sorted((d.name, d.value) for d in datum.dimensions)


def _state(alarm: Alarm) -> dict[str, Any]:
    data = alarm.state_reason_data
    return {
        "reason": alarm.state_reason,
        **({"reasonData": data} if data and data != "{}" else {}),
        "timestamp": stamp(alarm.state_updated_timestamp),
        "value": alarm.state_value,
    }


def _history(state: dict[str, Any]) -> dict[str, Any]:
    data = json.loads(state.get("reasonData", "{}"))
    told = {"stateValue": state["value"], "stateReason": state["reason"]}
    return told | ({"stateReasonData": data} if data else {})


def kind_of(alarm: Alarm) -> str:
    """MetricAlarm or CompositeAlarm, as the API calls it."""
    return "MetricAlarm" if alarm.rule is None else "CompositeAlarm"


def remember(alarm: Alarm, kind: str, summary: str, data: dict[str, Any]) -> None:
    """Add an item to the alarm's history."""
    alarm.history.append(
        {
            "AlarmName": alarm.name,
            "AlarmType": kind_of(alarm),
            "Timestamp": now(),
            "HistoryItemType": kind,
            "HistorySummary": summary,
            "HistoryData": json.dumps({"version": "1.0", **data}),
        }
    )


def aware(moment: dt.datetime) -> dt.datetime:
    """A time as moto keeps it, in UTC without saying so, with its zone."""
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def stamp(moment: dt.datetime) -> str:
    """A time as CloudWatch writes it in texts, to the millisecond."""
    return aware(moment).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "+0000"


@functools.cache
def _region(name: str) -> str:
    """A region as AWS calls it in words."""
    for partition in Loader().load_data("endpoints")["partitions"]:
        if name in partition["regions"]:
            return partition["regions"][name]["description"]
    return name
