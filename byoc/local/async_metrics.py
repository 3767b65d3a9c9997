"""The metrics of an asynchronous endpoint in CloudWatch.

Source: Developer Guide, async-inference-monitor. It spells `InvocationsProcessed` with a third s,
which is taken for a slip.
"""

import logging
from collections import defaultdict, deque
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from byoc.local.endpoint_metrics import INVOCATIONS, datum
from byoc.local.service import Context

log = logging.getLogger(__name__)


class Tally:
    """What happened to the requests of one endpoint since it was published last."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = {"Name": "EndpointName", "Value": endpoint}
        self._counted: deque[tuple[str, str, float, str]] = deque()  # its methods are atomic

    def add(self, name: str, unit: str, value: float, variant: str) -> None:
        """Remember one value of a metric of a variant."""
        self._counted.append((name, unit, float(value), variant))

    def publish(self, context: Context, ages: list[float], instances: int) -> None:
        """Send all to CloudWatch; `ages` are those of the requests without an end, in seconds."""
        data = self._of_variants() + self._of_queue(ages, instances)
        try:
            context.client("cloudwatch").put_metric_data(Namespace=INVOCATIONS, MetricData=data)
        except (BotoCoreError, ClientError) as error:
            log.warning("metrics of %s: %s", self._endpoint["Value"], error)

    def _of_variants(self) -> list[dict[str, Any]]:
        values: dict[tuple[str, str, str], list[float]] = defaultdict(list)
        for _ in range(len(self._counted)):
            name, unit, value, variant = self._counted.popleft()
            values[variant, name, unit].append(value)
        return [
            datum([self._endpoint, {"Name": "VariantName", "Value": variant}], name, unit, given)
            for (variant, name, unit), given in values.items()
        ]

    def _of_queue(self, ages: list[float], instances: int) -> list[dict[str, Any]]:
        size = float(len(ages))
        values = [
            ("ApproximateBacklogSize", "Count", size),
            ("ApproximateAgeOfOldestRequest", "Seconds", max(ages, default=0.0)),
            ("HasBacklogWithoutCapacity", "Count", float(size > 0 and instances == 0)),
        ]
        if instances:
            values.append(("ApproximateBacklogSizePerInstance", "Count", size / instances))
        return [datum([self._endpoint], name, unit, [value]) for name, unit, value in values]
