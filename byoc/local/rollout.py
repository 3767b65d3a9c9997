"""How a new fleet takes over from the old one: steps of traffic, baking, alarms that call it back.

Source: API Reference, DeploymentConfig, BlueGreenUpdatePolicy, TrafficRoutingConfig,
AutoRollbackConfig; Developer Guide, deployment-guardrails-blue-green.
"""

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from byoc.local.errors import not_implemented, validation
from byoc.local.service import Context

MINUTE = 60.0
LOOK = 0.2  # seconds between two looks at the alarms
CANARY, LINEAR = 0.5, (0.1, 0.5)  # shares of the fleet that a step may have


@dataclass(frozen=True)
class Rollout:
    """A deployment's policy; times in seconds of this machine."""

    steps: tuple[float, ...] = (1.0,)  # the new fleet's share of the traffic, in turn
    bake: float = 0.0  # after each step
    keep: float = 0.0  # how long the old fleet stays after the last one
    most: float = math.inf  # for all of it
    alarms: tuple[str, ...] = ()

    def watch(
        self, context: Context, seconds: float, ends: float, stopped: threading.Event
    ) -> str | None:
        """Wait, and say why the deployment must be rolled back, if it must.

        `ends` is when it has taken too long, by the monotonic clock. AWS does not document what
        FailureReason says of alarms and of time: the words are ours.
        """
        until = time.monotonic() + seconds
        while True:
            if tripped := _in_alarm(context, self.alarms):
                return (
                    "The deployment was rolled back: CloudWatch alarm(s) "
                    f"[{', '.join(tripped)}] went into ALARM state."
                )
            left = min(until, ends) - time.monotonic()
            if left <= 0 or stopped.wait(min(left, LOOK)):
                break
        if time.monotonic() >= ends:
            return "The deployment was rolled back: it exceeded MaximumExecutionTimeoutInSeconds."
        return None


def parse(
    context: Context, name: str, config: dict[str, Any] | None, counts: Sequence[int]
) -> Rollout:
    """The policy of a DeploymentConfig; raises AWSError for one that can't be.

    `name` is the operation's, `counts` the number of instances of each new variant.
    """
    if config is None:
        return Rollout()
    if "RollingUpdatePolicy" in config:
        if "BlueGreenUpdatePolicy" in config:
            raise validation("Only one update policy can be used in the deployment configuration.")
        raise not_implemented(f"{name} with RollingUpdatePolicy")
    policy = config.get("BlueGreenUpdatePolicy", {})
    routing = policy.get("TrafficRoutingConfiguration", {"Type": "ALL_AT_ONCE"})
    steps = _steps(name, routing, counts)
    bake = routing.get("WaitIntervalInSeconds", 0)
    keep = policy.get("TerminationWaitInSeconds", 0)
    most = policy.get("MaximumExecutionTimeoutInSeconds", math.inf)
    if most <= len(steps) * bake + keep:
        raise validation(
            "MaximumExecutionTimeoutInSeconds must be larger than the total waiting time of "
            "TerminationWaitInSeconds and WaitIntervalInSeconds."
        )
    rollback = config.get("AutoRollbackConfiguration", {})
    alarms = [alarm.get("AlarmName", "") for alarm in rollback.get("Alarms", [])]
    known = _states(context, [alarm for alarm in alarms if alarm])
    if missing := [alarm for alarm in alarms if alarm not in known]:
        raise validation(f"CloudWatch alarm(s) [{', '.join(missing)}] could not be found.")
    speed = context.platform.options.rollout_interval / MINUTE
    return Rollout(steps, bake * speed, keep * speed, most * speed, tuple(alarms))


def _steps(name: str, routing: dict[str, Any], counts: Sequence[int]) -> tuple[float, ...]:
    """The shares of the traffic that the new fleet gets, up to the whole."""
    kind = routing["Type"]
    members = {"CANARY": "CanarySize", "LINEAR": "LinearStepSize"}
    for other, member in members.items():
        if (member in routing) != (kind == other):
            needs = "must" if kind == other else "can't"
            raise validation(f"{member} {needs} be given with traffic routing type {kind}.")
    if kind == "ALL_AT_ONCE":
        return (1.0,)
    share = _share(name, routing[members[kind]], counts)
    if kind == "CANARY":
        if share > CANARY:
            raise validation("CanarySize must be at most 50% of the variant's instance count.")
        return (share, 1.0)
    if not LINEAR[0] <= share <= LINEAR[1]:
        raise validation("LinearStepSize must be 10-50% of the variant's instance count.")
    return (*(share * i for i in range(1, math.ceil(1 / share - 1e-9))), 1.0)


def _share(name: str, size: dict[str, Any], counts: Sequence[int]) -> float:
    if size["Type"] == "CAPACITY_PERCENT":
        return size["Value"] / 100
    if len(set(counts)) > 1:
        raise not_implemented(f"{name} by INSTANCE_COUNT with variants of different counts")
    return size["Value"] / counts[0]


def _in_alarm(context: Context, alarms: Sequence[str]) -> list[str]:
    return [name for name, state in _states(context, alarms).items() if state == "ALARM"]


def _states(context: Context, alarms: Sequence[str]) -> dict[str, str]:
    """StateValue of each alarm that there is."""
    if not alarms:
        return {}
    kinds = ["MetricAlarm", "CompositeAlarm"]
    cloudwatch = context.client("cloudwatch")
    found = cloudwatch.describe_alarms(AlarmNames=list(alarms), AlarmTypes=kinds)
    rows = [*found.get("MetricAlarms", []), *found.get("CompositeAlarms", [])]
    return {row["AlarmName"]: row["StateValue"] for row in rows}
