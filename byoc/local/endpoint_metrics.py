"""A variant's metrics in CloudWatch, counted beside the requests and published now and then.

Source: Developer Guide, monitoring-cloudwatch.
"""

import logging
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import psutil
from botocore.exceptions import BotoCoreError, ClientError

from byoc.engines import Container
from byoc.local.service import Context

INVOCATIONS, INSTANCES = "AWS/SageMaker", "/aws/sagemaker/Endpoints"  # namespaces

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Invocation:
    """One request: `status` is the container's, 0 when it gave no answer; times in seconds."""

    status: int
    instances: int
    model: float
    overhead: float
    broken: bool = False  # a stream that ended with an error


class Meter:
    """The invocations of one variant since they were published last."""

    def __init__(self, endpoint: str, variant: str) -> None:
        self._dimensions = [
            {"Name": "EndpointName", "Value": endpoint},
            {"Name": "VariantName", "Value": variant},
        ]
        self._invocations: deque[Invocation] = deque()  # its methods are atomic
        self._before: dict[Container, tuple[float, float]] = {}

    def count(self, invocation: Invocation) -> None:
        """Remember one invocation."""
        self._invocations.append(invocation)

    def publish(self, context: Context, containers: Sequence[Container]) -> None:
        """Send what has been counted, and what the containers use now, to CloudWatch."""
        invocations = [self._invocations.popleft() for _ in range(len(self._invocations))]
        for namespace, values in (
            (INVOCATIONS, _of_invocations(invocations)),
            (INSTANCES, self._of_instances(containers)),
        ):
            data = [self._datum(name, unit, given) for name, unit, given in values if given]
            try:
                if data:
                    cloudwatch = context.client("cloudwatch")
                    cloudwatch.put_metric_data(Namespace=namespace, MetricData=data)
            except (BotoCoreError, ClientError) as error:
                log.warning("metrics of %s: %s", self._dimensions, error)

    def _datum(self, name: str, unit: str, values: Sequence[float]) -> dict[str, Any]:
        statistics = {
            "SampleCount": len(values),
            "Sum": sum(values),
            "Minimum": min(values),
            "Maximum": max(values),
        }
        return {
            "MetricName": name,
            "Dimensions": self._dimensions,
            "Unit": unit,
            "StatisticValues": statistics,
        }

    def _of_instances(
        self, containers: Sequence[Container]
    ) -> Iterable[tuple[str, str, list[float]]]:
        cpu, memory, disk = [], [], []
        before, self._before = self._before, {}
        for container in containers:
            usage = container.usage()
            if usage is None:
                continue
            moment = time.monotonic()
            self._before[container] = usage.cpu, moment
            if container in before:
                seconds, earlier = before[container]
                cpu.append(max(0.0, 100 * (usage.cpu - seconds) / (moment - earlier)))
            memory.append(100 * usage.memory / psutil.virtual_memory().total)
            disk.append(100 * usage.disk / psutil.disk_usage("/").total)
        yield "CPUUtilization", "Percent", cpu
        yield "MemoryUtilization", "Percent", memory
        yield "DiskUtilization", "Percent", disk


def _of_invocations(invocations: Sequence[Invocation]) -> Iterable[tuple[str, str, list[float]]]:
    statuses = [invocation.status for invocation in invocations]
    yield "Invocations", "None", [1.0 for _ in statuses]
    yield "InvocationsPerInstance", "None", [1 / i.instances for i in invocations]
    yield "Invocation4XXErrors", "None", [float(400 <= s < 500) for s in statuses]
    yield "Invocation5XXErrors", "None", [float(s >= 500) for s in statuses]
    yield "InvocationModelErrors", "None", [float(not 200 <= s < 300) for s in statuses]
    yield "ModelLatency", "Microseconds", [1e6 * i.model for i in invocations]
    yield "OverheadLatency", "Microseconds", [1e6 * i.overhead for i in invocations]
    yield "MidStreamErrors", "None", [1.0 for i in invocations if i.broken]
