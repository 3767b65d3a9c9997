"""CloudWatch alarms that are evaluated: moto keeps alarms and metrics, states change here.

Source: CloudWatch User Guide, alarm-evaluation, cloudwatch-and-eventbridge; API Reference,
PutMetricAlarm, SetAlarmState, DescribeAlarmHistory. The message to SNS is as public examples of it.
"""

import datetime as dt
import functools
import json
import logging
import math
import threading
import uuid
from collections.abc import Callable
from typing import Any

from botocore.loaders import Loader
from moto.cloudwatch.exceptions import InvalidParameterCombination, InvalidParameterValue
from moto.cloudwatch.models import Alarm, CloudWatchBackend, MetricDatum, cloudwatch_backends
from moto.cloudwatch.responses import CloudWatchResponse
from moto.core.responses import ActionResult
from moto.sns.models import sns_backends
from moto.utilities.arns import parse_arn

from byoc.local import alarm_rules, events
from byoc.local.alarm_rules import EXTRA, UNKNOWN, Point, Rule
from byoc.local.errors import not_implemented
from byoc.local.owners import owner
from byoc.local.service import Platform
from byoc.local.state import now

log = logging.getLogger(__name__)

MINUTE = 60  # AWS looks at a standard alarm at each full minute
SCALERS = "TargetTracking-"  # names of alarms whose state `scaler.py` sets
MEMBERS = {"ALARM": "alarm_actions", "OK": "ok_actions", UNKNOWN: "insufficient_data_actions"}
_LOCK = threading.RLock()  # moto's alarms are shared by all local AWS of the process


def evaluate(platform: Platform) -> None:
    """Look at each alarm of the accounts that this local AWS acts for, and change its state."""
    step = min(MINUTE, platform.options.alarm_interval)
    for account, regions in list(cloudwatch_backends.items()):
        if owner(account) is not platform:
            continue
        for backend in list(regions.values()):
            for alarm in list(backend.alarms.values()):
                try:
                    _evaluate(backend, alarm, step)
                except Exception:  # one that can't be evaluated must not stop the others
                    log.exception("the alarm %s", alarm.name)


def _evaluate(backend: CloudWatchBackend, alarm: Alarm, step: float) -> None:
    watched = _watched(alarm)
    if watched is None or alarm.name.startswith(SCALERS):
        return
    namespace, name, dimensions, period, statistic, unit = watched
    rule = _rule(alarm)
    moment = now()
    step = min(step, period)
    end = dt.datetime.fromtimestamp(moment.timestamp() // step * step, dt.UTC)
    count = rule.periods + EXTRA
    start = end - dt.timedelta(seconds=period * count)
    buckets: list[list[Any]] = [[] for _ in range(count)]
    for datum in list(backend.metric_data):
        if datum.name != name or datum.namespace != namespace or _of(datum) != dimensions:
            continue
        place = (_aware(datum.timestamp) - start).total_seconds() // period
        if 0 <= place < count and unit in (None, datum.unit):
            buckets[int(place)].append(datum)
    points = [
        Point(start + dt.timedelta(seconds=period * i), *_statistic(statistic, data))
        for i, data in enumerate(buckets)
    ]
    with _LOCK:
        state = alarm_rules.state(rule, points)
        if state in (None, alarm.state_value) or backend.alarms.get(alarm.name) is not alarm:
            return
        assert state is not None
        text = alarm_rules.reason(rule, points, alarm.state_value, state)
        data = _reason_data(rule, points, moment, statistic, period)
        _enter(alarm, state, text, json.dumps(data))


def _enter(alarm: Alarm, state: str, reason: str, data: str) -> None:
    """Change the state: history, event, actions."""
    before = _state(alarm)
    alarm.state_value, alarm.state_reason, alarm.state_reason_data = state, reason, data
    alarm.state_updated_timestamp = now().replace(tzinfo=None)
    _remember(
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
        _remember(alarm, "Action", f"Failed to execute action {action}", {"error": f"{error}"})
    else:
        _remember(alarm, "Action", f"Successfully executed action {action}", {})


def _message(alarm: Alarm, before: str) -> dict[str, Any]:
    namespace, name, dimensions, period, statistic, unit = _watched(alarm) or _NOTHING
    rule = _rule(alarm)
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
    return {
        "AlarmName": alarm.name,
        "AlarmDescription": alarm.description,
        "AWSAccountId": parse_arn(alarm.alarm_arn).account,
        "AlarmConfigurationUpdatedTimestamp": _stamp(alarm.configuration_updated_timestamp),
        "NewStateValue": alarm.state_value,
        "NewStateReason": alarm.state_reason,
        "StateChangeTime": _stamp(alarm.state_updated_timestamp),
        "Region": _region(alarm.region_name),
        "AlarmArn": alarm.alarm_arn,
        "OldStateValue": before,
        "OKActions": alarm.ok_actions,
        "AlarmActions": alarm.alarm_actions,
        "InsufficientDataActions": alarm.insufficient_data_actions,
        "Trigger": trigger,
    }


def _configuration(alarm: Alarm) -> dict[str, Any]:
    namespace, name, dimensions, period, statistic, _ = _watched(alarm) or _NOTHING
    metric = {"dimensions": dict(dimensions), "name": name, "namespace": namespace}
    query = {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, alarm.alarm_arn)),
        "metricStat": {"metric": metric, "period": period, "stat": statistic},
        "returnData": True,
    }
    described = {"description": alarm.description} if alarm.description else {}
    return described | {"metrics": [query]}


_NOTHING: tuple[str, str, list[tuple[str, str]], int, str, None] = ("", "", [], MINUTE, "", None)


def _watched(alarm: Alarm) -> tuple[str, str, list[tuple[str, str]], int, str, str | None] | None:
    """Namespace, name, dimensions, period, statistic and unit of what the alarm looks at."""
    if alarm.rule is not None:
        return None
    if not alarm.metric_data_queries:
        statistic = alarm.extended_statistic or alarm.statistic
        place = (alarm.namespace, alarm.metric_name, _of(alarm))
        return (*place, int(alarm.period), statistic, alarm.unit)
    stat = alarm.metric_data_queries[0].metric_stat
    if stat is None:
        return None
    place = (stat.metric.namespace, stat.metric.metric_name, _of(stat.metric))
    return (*place, int(stat.period), stat.stat, stat.unit)


def _rule(alarm: Alarm) -> Rule:
    periods = int(alarm.evaluation_periods)
    return Rule(
        alarm.comparison_operator,
        float(alarm.threshold),
        periods,
        int(alarm.datapoints_to_alarm or periods),
        alarm.treat_missing_data or "missing",
    )


def _of(datum: Any) -> list[tuple[str, str]]:
    return sorted((d.name, d.value) for d in datum.dimensions)


def _statistic(name: str, data: list[Any]) -> tuple[float | None, float]:
    """A statistic of the data of one period, and the number of samples."""
    if not data:
        return None, 0.0
    sets = [
        (d.value, d.value, d.value, 1.0)
        if isinstance(d, MetricDatum)
        else (d.sum, d.min, d.max, d.sample_count)
        for d in data
    ]
    total, samples = sum(s[0] for s in sets), sum(s[3] for s in sets)
    if name.startswith("p"):
        return _percentile(float(name[1:]), sorted(s[1] for s in sets)), samples
    values = {
        "Sum": total,
        "Average": total / samples if samples else None,
        "Minimum": min(s[1] for s in sets),
        "Maximum": max(s[2] for s in sets),
        "SampleCount": samples,
    }
    return values[name], samples


def _percentile(share: float, values: list[float]) -> float:
    """By linear interpolation; AWS does not say how it does it."""
    place = share / 100 * (len(values) - 1)
    low = math.floor(place)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (place - low)


def _reason_data(
    rule: Rule, points: list[Point], moment: dt.datetime, statistic: str, period: int
) -> dict[str, Any]:
    used = [point for point in points if point.value is not None][-rule.periods :]
    return {
        "version": "1.0",
        "queryDate": _stamp(moment),
        **({"startDate": _stamp(used[0].start)} if used else {}),
        "statistic": statistic,
        "period": period,
        "recentDatapoints": [point.value for point in used],
        "threshold": rule.threshold,
        "evaluatedDatapoints": [
            {"timestamp": _stamp(p.start), "sampleCount": p.count, "value": p.value}
            for p in reversed(used)
        ],
    }


def _state(alarm: Alarm) -> dict[str, Any]:
    data = alarm.state_reason_data
    return {
        "reason": alarm.state_reason,
        **({"reasonData": data} if data and data != "{}" else {}),
        "timestamp": _stamp(alarm.state_updated_timestamp),
        "value": alarm.state_value,
    }


def _history(state: dict[str, Any]) -> dict[str, Any]:
    data = json.loads(state.get("reasonData", "{}"))
    told = {"stateValue": state["value"], "stateReason": state["reason"]}
    return told | ({"stateReasonData": data} if data else {})


def _remember(alarm: Alarm, kind: str, summary: str, data: dict[str, Any]) -> None:
    alarm.history.append(
        {
            "AlarmName": alarm.name,
            "AlarmType": "MetricAlarm",
            "Timestamp": now(),
            "HistoryItemType": kind,
            "HistorySummary": summary,
            "HistoryData": json.dumps({"version": "1.0", **data}),
        }
    )


def _aware(moment: dt.datetime) -> dt.datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def _stamp(moment: dt.datetime) -> str:
    return _aware(moment).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "+0000"


@functools.cache
def _region(name: str) -> str:
    """A region as AWS calls it in words."""
    for partition in Loader().load_data("endpoints")["partitions"]:
        if name in partition["regions"]:
            return partition["regions"][name]["description"]
    return name


def _put_metric_alarm(self: CloudWatchBackend, *, name: str, **members: Any) -> Alarm:
    """A new alarm has no data yet, and one that is changed keeps its state (moto: OK both)."""
    _check(members)
    with _LOCK:
        old = self.alarms.get(name)
        alarm = _moto_put_metric_alarm(self, name=name, **members)
        alarm.state_value = UNKNOWN
        if old is not None:
            for member in ("value", "reason", "reason_data", "updated_timestamp"):
                setattr(alarm, f"state_{member}", getattr(old, f"state_{member}"))
            alarm.history = old.history
        change = "created" if old is None else "updated"
        _remember(alarm, "ConfigurationUpdate", f'Alarm "{name}" {change}', {})
    return alarm


def _check(members: dict[str, Any]) -> None:
    """Raise what AWS would for numbers that don't fit, and refuse what is not evaluated here."""
    queries = members.get("metric_data_queries") or []
    if any(q.expression or q.metric_stat is None for q in queries) or len(queries) > 1:
        raise not_implemented("PutMetricAlarm with metric math")
    if members.get("threshold_metric_id") or members.get("comparison_operator") not in (
        alarm_rules.OPERATORS
    ):
        raise not_implemented("PutMetricAlarm with anomaly detection")
    period = int(queries[0].metric_stat.period if queries else members.get("period") or 0)
    if period not in (10, 20, 30) and (period <= 0 or period % MINUTE):
        raise InvalidParameterValue("Period must be 10, 20, 30 or a multiple of 60")
    extended = members.get("extended_statistic")
    if not queries and bool(extended) == bool(members.get("statistic")):
        raise InvalidParameterCombination(
            "Exactly one of Statistic and ExtendedStatistic must be given"
        )
    statistic = queries[0].metric_stat.stat if queries else extended or members["statistic"]
    namespace = queries[0].metric_stat.metric.namespace if queries else members.get("namespace")
    if statistic not in ("Sum", "Average", "Minimum", "Maximum", "SampleCount"):
        if not statistic.startswith("p") or not statistic[1:].replace(".", "", 1).isdigit():
            raise not_implemented(f"PutMetricAlarm with the statistic {statistic}")
        if namespace == "AWS/SageMaker":
            raise not_implemented("PutMetricAlarm with percentiles of an endpoint's metrics")
    periods, needed = members.get("evaluation_periods") or 0, members.get("datapoints_to_alarm")
    if needed and int(needed) > int(periods):
        raise InvalidParameterValue("DatapointsToAlarm must not exceed EvaluationPeriods")
    for member in MEMBERS.values():
        for action in members.get(member) or []:
            service = (action.split(":") + [""] * 3)[2]
            if service not in ("sns", "autoscaling"):
                raise not_implemented(f"PutMetricAlarm with actions of the service {service}")


def _update_state(self: Alarm, reason: str, reason_data: str | None, state_value: str) -> None:
    """What SetAlarmState does, with the actions and the event of the new state (moto: without)."""
    with _LOCK:
        if self.state_value != state_value:
            _enter(self, state_value, reason, reason_data or "{}")


def _describe_alarm_history(self: CloudWatchResponse) -> ActionResult:
    """The history of alarms, the newest first (moto: none)."""
    name, kind = self._get_param("AlarmName"), self._get_param("HistoryItemType")
    first, last = self._get_param("StartDate"), self._get_param("EndDate")
    rows = [
        item
        for alarm in list(self.cloudwatch_backend.alarms.values())
        for item in list(alarm.history)
        if name in (None, alarm.name)
        and kind in (None, item["HistoryItemType"])
        and (first is None or item["Timestamp"] >= _aware(first))
        and (last is None or item["Timestamp"] <= _aware(last))
    ]
    oldest_first = self._get_param("ScanBy") == "TimestampAscending"
    rows.sort(key=lambda item: item["Timestamp"], reverse=not oldest_first)
    return ActionResult({"AlarmHistoryItems": rows[: int(self._get_param("MaxRecords") or 100)]})


_moto_put_metric_alarm = CloudWatchBackend.put_metric_alarm
CORRECTIONS: tuple[tuple[type, str, Callable[..., Any]], ...] = (
    (CloudWatchBackend, "put_metric_alarm", _put_metric_alarm),
    (Alarm, "update_state", _update_state),
    (CloudWatchResponse, "describe_alarm_history", _describe_alarm_history),
)
