"""A variant's metrics in CloudWatch, counted beside the requests and published now and then.

Source: Developer Guide, monitoring-cloudwatch.
"""

import logging
import threading
from collections import deque
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from byoc.local.instances import Replica
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

    def __init__(self, endpoint: str, variant: str, only: Container[str] | None = None) -> None:
        """`only` are the names of the metrics that it has, if not all."""
        self._dimensions = [
            {"Name": "EndpointName", "Value": endpoint},
            {"Name": "VariantName", "Value": variant},
        ]
        self._invocations: deque[Invocation] = deque()  # its methods are atomic
        self._measured: deque[tuple[str, str, float]] = deque()
        self._only = only
        self._publishing = threading.Lock()

    def count(self, invocation: Invocation) -> None:
        """Remember one invocation."""
        self._invocations.append(invocation)

    def measure(self, name: str, unit: str, value: float) -> None:
        """Remember one value of a metric beside those of invocations, in AWS/SageMaker."""
        self._measured.append((name, unit, value))

    def publish(self, context: Context, replicas: Sequence[Replica]) -> None:
        """Send what has been counted, and what the containers use now, to CloudWatch."""
        with self._publishing:
            invocations = [self._invocations.popleft() for _ in range(len(self._invocations))]
            measured = [self._measured.popleft() for _ in range(len(self._measured))]
        for namespace, values in (
            (INVOCATIONS, [*_of_invocations(invocations), *_grouped(measured)]),
            (INSTANCES, _of_replicas(replicas)),
        ):
            wanted = [v for v in values if v[2] and (self._only is None or v[0] in self._only)]
            data = [datum(self._dimensions, *value) for value in wanted]
            try:
                if data:
                    cloudwatch = context.client("cloudwatch")
                    cloudwatch.put_metric_data(Namespace=namespace, MetricData=data)
            except (BotoCoreError, ClientError) as error:
                log.warning("metrics of %s: %s", self._dimensions, error)


def datum(
    dimensions: Sequence[dict[str, str]], name: str, unit: str, values: Sequence[float]
) -> dict[str, Any]:
    """Values of one metric as PutMetricData takes them."""
    statistics = {
        "SampleCount": len(values),
        "Sum": sum(values),
        "Minimum": min(values),
        "Maximum": max(values),
    }
    return {
        "MetricName": name,
        "Dimensions": dimensions,
        "Unit": unit,
        "StatisticValues": statistics,
    }


def _grouped(
    measured: Iterable[tuple[str, str, float]],
) -> Iterable[tuple[str, str, list[float]]]:
    found: dict[tuple[str, str], list[float]] = {}
    for name, unit, value in measured:
        found.setdefault((name, unit), []).append(value)
    return [(name, unit, values) for (name, unit), values in found.items()]


def _of_replicas(replicas: Sequence[Replica]) -> Iterable[tuple[str, str, list[float]]]:
    used = [r.container.usage for r in replicas]
    loaded = [float(len(r.models)) for r in replicas if r.models is not None]
    yield "LoadedModelCount", "None", loaded
    yield "CPUUtilization", "Percent", [usage.cpu for usage in used if usage]
    yield "MemoryUtilization", "Percent", [usage.memory_percent for usage in used if usage]
    yield "DiskUtilization", "Percent", [100 * _disk(r.folder) / r.volume for r in replicas]


def _disk(folder: Path) -> int:
    """Bytes of an instance's files: its `/opt/ml`, and what its container has beside it."""
    total = 0
    for file in folder.parent.glob(f"{folder.name}*/**/*"):
        try:
            total += file.lstat().st_size
        except OSError:  # it has just gone
            continue
    return total


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
