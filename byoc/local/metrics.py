"""What a job measures: values in its log, and what its instances use, to CloudWatch.

Source: API Reference, MetricDefinition; Developer Guide, training-metrics and
monitoring-cloudwatch.
"""

import math
import threading
from collections.abc import Callable, Mapping
from typing import Any

import regex
from botocore.exceptions import ClientError

from byoc.engines.usage import Usage
from byoc.local.clients import REFUSED
from byoc.local.errors import validation
from byoc.local.state import now

NAMESPACE = "/aws/sagemaker/TrainingJobs"
PATIENCE = 0.5  # seconds that one expression may take for one line
BATCH = 500  # values of one PutMetricData; AWS allows 1,000


def check(definitions: list[dict[str, str]]) -> None:
    """Raise ValidationException for an expression that is none."""
    for definition in definitions:
        try:
            regex.compile(definition["Regex"])
        except regex.error as error:
            raise validation(
                f"The regular expression {definition['Regex']} of the metric {definition['Name']} "
                f"is not valid: {error}."
            ) from None


class Metrics:
    """Values found in the logs of a job by its regular expressions.

    The first group of the expression is the value. An expression that takes too long is given up.
    `tell` is called with each metric's name and value.
    """

    def __init__(
        self,
        job: str,
        definitions: list[dict[str, str]],
        namespace: str = NAMESPACE,
        tell: Callable[[str, float], None] = lambda name, value: None,
    ) -> None:
        self._job, self._namespace, self._tell = job, namespace, tell
        self._lock = threading.Lock()
        self._definitions = [(d["Name"], regex.compile(d["Regex"])) for d in definitions]
        self._found: list[dict[str, Any]] = []
        self.final: dict[str, dict[str, Any]] = {}

    def read(self, host: str, line: str) -> None:
        """Look for every metric in one line of a host's log."""
        for definition in list(self._definitions):
            name, expression = definition
            try:
                for match in expression.finditer(line, timeout=PATIENCE):
                    self._keep(host, name, match[1] if expression.groups else match[0])
            except TimeoutError:
                with self._lock:
                    if definition in self._definitions:
                        self._definitions.remove(definition)

    def _keep(self, host: str, name: str, text: str | None) -> None:
        try:
            value = float(text or "")
        except ValueError:
            return
        if not math.isfinite(value):
            return  # CloudWatch takes no NaN and no infinity
        datum = {"MetricName": name, "Value": value, "Timestamp": now()}
        with self._lock:
            self.final[name] = datum
            self._found.append({**datum, "Dimensions": self._of(host)})
        self._tell(name, value)

    def publish(self, cloudwatch: Any, usage: Mapping[str, Usage | None], disk: float) -> None:
        """Send what was found since the last time, and the use of each host's instance.

        `disk` is the percentage of the disk in use.
        """
        with self._lock:
            data, self._found = self._found, []
        for host, used in usage.items():
            if used is not None:
                data += [
                    {
                        "MetricName": f"{name}Utilization",
                        "Value": value,
                        "Unit": "Percent",
                        "Timestamp": now(),
                        "Dimensions": self._of(host),
                    }
                    for name, value in (
                        ("CPU", used.cpu),
                        ("Memory", used.memory_percent),
                        ("Disk", disk),
                    )
                ]
        for start in range(0, len(data), BATCH):
            batch = data[start : start + BATCH]
            try:
                cloudwatch.put_metric_data(Namespace=self._namespace, MetricData=batch)
            except ClientError as error:
                if error.response["Error"]["Code"] != REFUSED:
                    raise  # a role that may send none sends none, as on AWS

    def _of(self, host: str) -> list[dict[str, str]]:
        return [{"Name": "Host", "Value": f"{self._job}/{host}"}]
