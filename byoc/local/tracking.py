"""Target tracking: what a policy's metric has been, and how many instances that asks for.

Source: Application Auto Scaling User Guide, target-tracking-scaling-policy-overview; Developer
Guide, endpoint-auto-scaling-policy. AWS gives no formula: the capacity is taken to be proportional
to the metric, with the mildest of the values that crossed the threshold.
"""

import datetime as dt
import math
import uuid
from collections import deque
from typing import Any

from moto.cloudwatch.models import Statistics, cloudwatch_backends

from byoc.local.service import Context
from byoc.local.state import Resource

MINUTE = 60.0  # seconds of the period that AWS's alarms have
HIGH, LOW = 3, 15  # periods in a row after which AWS scales out, and in
SLACK = 0.9  # share of the target below which AWS scales in
COUNTED = ("Sum", "SampleCount")  # statistics that grow with the length of a period
DESCRIPTION = "DO NOT EDIT OR DELETE. For TargetTrackingScaling policy"  # of the alarms
INVOCATIONS = "SageMakerVariantInvocationsPerInstance"


def metric(resource_id: str, config: dict[str, Any]) -> dict[str, Any]:
    """A policy's metric, as the members that PutMetricAlarm takes."""
    given = config.get("CustomizedMetricSpecification")
    if given is None:
        _, endpoint, _, variant = resource_id.split("/")
        names = {"EndpointName": endpoint, "VariantName": variant}
        return {
            "Namespace": "AWS/SageMaker",
            "MetricName": "InvocationsPerInstance",
            "Dimensions": [{"Name": name, "Value": value} for name, value in names.items()],
            "Statistic": "Sum",
        }
    members = ("Namespace", "MetricName", "Dimensions", "Statistic", "Unit")
    return {member: given[member] for member in members if member in given}


def put_alarms(context: Context, policy: Resource) -> list[dict[str, str]]:
    """Make or change the policy's two alarms in CloudWatch; their names and ARNs."""
    data = policy.data
    config, known = data["TargetTrackingScalingPolicyConfiguration"], data.get("Alarms", [])
    sides = [("High", HIGH, "GreaterThanThreshold", config["TargetValue"])]
    if not config.get("DisableScaleIn", False):
        sides.append(("Low", LOW, "LessThanThreshold", SLACK * config["TargetValue"]))
    alarms = []
    for side, periods, comparison, threshold in sides:
        fresh = f"TargetTracking-{data['ResourceId']}-Alarm{side}-{uuid.uuid4()}"
        name = next((a["AlarmName"] for a in known if f"-Alarm{side}-" in a["AlarmName"]), fresh)
        context.client("cloudwatch").put_metric_alarm(
            AlarmName=name,
            AlarmDescription=f"{DESCRIPTION} {policy.arn}.",
            AlarmActions=[policy.arn],
            EvaluationPeriods=periods,
            Period=int(MINUTE),
            Threshold=threshold,
            ComparisonOperator=comparison,
            **metric(data["ResourceId"], config),
        )
        place = f"{context.region}:{context.account}:alarm:{name}"
        alarms.append(
            {"AlarmName": name, "AlarmARN": f"arn:{context.partition}:cloudwatch:{place}"}
        )
    gone = [a["AlarmName"] for a in known if a not in alarms]
    delete_alarms(context, gone)
    return alarms


def delete_alarms(context: Context, names: list[str]) -> None:
    """Delete a policy's alarms."""
    if names:
        context.client("cloudwatch").delete_alarms(AlarmNames=names)


class Tracker:
    """The latest values of one policy's metric, each of one period."""

    def __init__(self, context: Context, policy: Resource) -> None:
        self._context, self._policy = context, policy
        self._values: deque[float] = deque(maxlen=LOW)
        self._missing = 0
        self._states: dict[str, str] = {}

    @property
    def config(self) -> dict[str, Any]:
        """The policy's TargetTrackingScalingPolicyConfiguration."""
        return self._policy.data["TargetTrackingScalingPolicyConfiguration"]

    @property
    def name(self) -> str:
        return self._policy.data["PolicyName"]

    def read(self, since: dt.datetime, until: dt.datetime) -> None:
        """Take the value of the period that ends now. Without one the period is passed over.

        SageMaker sends zeros while nobody invokes. Source: Developer Guide,
        endpoint-auto-scaling-edit.
        """
        asked = metric(self._policy.data["ResourceId"], self.config)
        value = _value(self._context, asked, since, until)
        if value is None and "PredefinedMetricSpecification" in self.config:
            value = 0.0
        self._missing = self._missing + 1 if value is None else 0
        if value is not None:
            length = (until - since).total_seconds()
            counted = asked["Statistic"] in COUNTED
            self._values.append(value * MINUTE / length if counted else value)
        if self._missing >= LOW:
            self._values.clear()
        self._tell("High", self.high)
        self._tell("Low", self.low)

    @property
    def high(self) -> bool | None:
        """Whether the metric is above the target; None when that can't be said."""
        latest = list(self._values)[-HIGH:]
        return min(latest) > self.config["TargetValue"] if len(latest) == HIGH else None

    @property
    def low(self) -> bool | None:
        """Whether it is well below; never where scaling in is disabled."""
        if self.config.get("DisableScaleIn", False):
            return False
        full = len(self._values) == LOW
        return max(self._values) < SLACK * self.config["TargetValue"] if full else None

    def capacity(self, current: int) -> int:
        """How many instances it asks for."""
        target = self.config["TargetValue"]
        if self.high:
            value = min(list(self._values)[-HIGH:])
            return max(current + 1, math.ceil(current * value / target))
        if self.low:
            return min(current - 1, math.ceil(current * max(self._values) / target))
        return current

    def alarm(self, side: str) -> str:
        """The name of the alarm `High` or `Low`."""
        names = [a["AlarmName"] for a in self._policy.data["Alarms"]]
        return next((name for name in names if f"-Alarm{side}-" in name), "")

    def forget(self) -> None:
        """What was measured with fewer instances says nothing any more."""
        self._values.clear()

    def _tell(self, side: str, crossed: bool | None) -> None:
        """Let CloudWatch's alarm show what was found."""
        state = "INSUFFICIENT_DATA" if crossed is None else "ALARM" if crossed else "OK"
        name = self.alarm(side)
        if name and self._states.get(side, "INSUFFICIENT_DATA") != state:
            self._states[side] = state
            values = ", ".join(f"{value:g}" for value in list(self._values)[-HIGH:])
            self._context.client("cloudwatch").set_alarm_state(
                AlarmName=name, StateValue=state, StateReason=f"The latest datapoints: [{values}]."
            )


def _value(
    context: Context, asked: dict[str, Any], since: dt.datetime, until: dt.datetime
) -> float | None:
    """A metric's statistic between two moments. moto's own operation knows whole seconds only."""
    statistic = asked["Statistic"]
    found = Statistics([statistic], since)
    wanted = {(d["Name"], d["Value"]) for d in asked.get("Dimensions", [])}
    for datum in list(cloudwatch_backends[context.account][context.region].metric_data):
        if (
            (datum.namespace, datum.name) == (asked["Namespace"], asked["MetricName"])
            and asked.get("Unit", datum.unit) == datum.unit
            and since < _aware(datum.timestamp) <= until
            and {(d.name, d.value) for d in datum.dimensions} == wanted
        ):
            found.metric_data.append(datum)
    if not found.metric_data:
        return None
    value = found.get_statistics_for_type(statistic)
    return None if value is None else float(value)


def _aware(moment: dt.datetime) -> dt.datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
