"""CloudWatch alarms that are evaluated: moto keeps alarms and metrics, states change here.

Source: CloudWatch User Guide, alarm-evaluation; API Reference, PutMetricAlarm, SetAlarmState,
DescribeAlarms, DescribeAlarmHistory.
"""

import datetime as dt
import json
import logging
import math
from collections.abc import Callable
from typing import Any

from moto.cloudwatch.exceptions import InvalidParameterCombination, InvalidParameterValue
from moto.cloudwatch.models import Alarm, CloudWatchBackend, MetricDatum, cloudwatch_backends
from moto.cloudwatch.responses import CloudWatchResponse
from moto.core.responses import ActionResult
from moto.utilities.arns import parse_arn

from byoc.local import alarm_rules, composite_alarms
from byoc.local.alarm_changes import (
    LOCK,
    MEMBERS,
    MINUTE,
    aware,
    dimensions_of,
    enter,
    kind_of,
    remember,
    rule_of,
    stamp,
    take_over,
    watched,
)
from byoc.local.alarm_rules import EXTRA, UNKNOWN, Point, Rule
from byoc.local.errors import not_implemented
from byoc.local.owners import owner
from byoc.local.service import Platform
from byoc.local.state import now

log = logging.getLogger(__name__)

SCALERS = "TargetTracking-"  # names of alarms whose state `scaler.py` sets


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
            composite_alarms.evaluate(backend)


def _evaluate(backend: CloudWatchBackend, alarm: Alarm, step: float) -> None:
    metric = watched(alarm)
    if metric is None or alarm.name.startswith(SCALERS):
        return
    namespace, name, dimensions, period, statistic, unit = metric
    rule = rule_of(alarm)
    moment = now()
    step = min(step, period)
    end = dt.datetime.fromtimestamp(moment.timestamp() // step * step, dt.UTC)
    count = rule.periods + EXTRA
    start = end - dt.timedelta(seconds=period * count)
    buckets: list[list[Any]] = [[] for _ in range(count)]
    for datum in list(backend.metric_data):
        if datum.name != name or datum.namespace != namespace or dimensions_of(datum) != dimensions:
            continue
        place = (aware(datum.timestamp) - start).total_seconds() // period
        if 0 <= place < count and unit in (None, datum.unit):
            buckets[int(place)].append(datum)
    points = [
        Point(start + dt.timedelta(seconds=period * i), *_statistic(statistic, data))
        for i, data in enumerate(buckets)
    ]
    with LOCK:
        state = alarm_rules.state(rule, points)
        if state in (None, alarm.state_value) or backend.alarms.get(alarm.name) is not alarm:
            return
        assert state is not None
        text = alarm_rules.reason(rule, points, alarm.state_value, state)
        data = _reason_data(rule, points, moment, statistic, period)
        enter(alarm, state, text, json.dumps(data))


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
        "queryDate": stamp(moment),
        **({"startDate": stamp(used[0].start)} if used else {}),
        "statistic": statistic,
        "period": period,
        "recentDatapoints": [point.value for point in used],
        "threshold": rule.threshold,
        "evaluatedDatapoints": [
            {"timestamp": stamp(p.start), "sampleCount": p.count, "value": p.value}
            for p in reversed(used)
        ],
    }


def _put_metric_alarm(self: CloudWatchBackend, *, name: str, **members: Any) -> Alarm:
    """A new alarm has no data yet, and one that is changed keeps its state (moto: OK both)."""
    _check(members)
    with LOCK:
        old = self.alarms.get(name)
        if old is not None and old.rule is not None:
            raise InvalidParameterValue(f"There is a composite alarm with the name {name}.")
        alarm = _moto_put_metric_alarm(self, name=name, **members)
        alarm.state_value = UNKNOWN
        if old is not None:
            take_over(alarm, old)
        change = "created" if old is None else "updated"
        remember(alarm, "ConfigurationUpdate", f'Alarm "{name}" {change}', {})
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
    with LOCK:
        if self.state_value != state_value:
            enter(self, state_value, reason, reason_data or "{}")
            place = parse_arn(self.alarm_arn)
            composite_alarms.evaluate(cloudwatch_backends[place.account][place.region])


def _describe_alarm_history(self: CloudWatchResponse) -> ActionResult:
    """The history of alarms, the newest first (moto: none)."""
    name, kind = self._get_param("AlarmName"), self._get_param("HistoryItemType")
    first, last = self._get_param("StartDate"), self._get_param("EndDate")
    kinds = self._get_param("AlarmTypes", []) or ["MetricAlarm"]
    rows = [
        item
        for alarm in list(self.cloudwatch_backend.alarms.values())
        for item in list(alarm.history)
        if name in (None, alarm.name)
        and kind_of(alarm) in kinds
        and kind in (None, item["HistoryItemType"])
        and (first is None or item["Timestamp"] >= aware(first))
        and (last is None or item["Timestamp"] <= aware(last))
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
