"""The embedded metric format: log events that are also values of CloudWatch's metrics.

Every log event passes here, whoever wrote it: a container, a client, a rule of EventBridge.
Source: CloudWatch User Guide, "Specification: Embedded metric format"; API Reference,
PutMetricData.
"""

import datetime as dt
import json
from collections.abc import Callable
from typing import Any

from moto.cloudwatch.models import cloudwatch_backends
from moto.logs.models import LogStream

from byoc.local import protocol
from byoc.local.errors import AWSError
from byoc.local.state import now

METRICS = 100  # definitions in one directive
VALUES = 100  # of one metric
RESOLUTIONS = (1, 60)  # seconds
LARGEST = 2.0**360
OLDEST, NEWEST = dt.timedelta(weeks=2), dt.timedelta(hours=2)  # what CloudWatch accepts


def requests(message: str) -> list[dict[str, Any]]:
    """The requests of PutMetricData that a log event stands for, one for each directive.

    None if it isn't a document of the format, or a malformed one. AWS does not say whether the
    rest of a malformed document counts: here it does not.
    """
    if '"_aws"' not in message:  # nearly every line
        return []
    try:
        document = json.loads(message, parse_constant=_refuse)
        metadata = document["_aws"]
        moment = metadata["Timestamp"] / 1000
        return [_request(document, moment, each) for each in metadata["CloudWatchMetrics"]]
    except (AWSError, KeyError, TypeError, ValueError, OverflowError, RecursionError):
        return []


def _request(document: dict[str, Any], moment: float, directive: dict[str, Any]) -> dict[str, Any]:
    """Every metric with every set of dimensions, checked as PutMetricData's own request."""
    sets, metrics = directive["Dimensions"], directive["Metrics"]
    _expect(isinstance(sets, list) and sets and all(isinstance(names, list) for names in sets))
    _expect(isinstance(metrics, list) and len(metrics) <= METRICS)
    data = [
        {
            **_datum(document, metric),
            "Dimensions": [{"Name": name, "Value": document[name]} for name in names],
            "Timestamp": moment,
        }
        for metric in metrics
        for names in sets
        if document[metric["Name"]] != []
    ]
    request = {"Namespace": directive["Namespace"], "MetricData": data}
    request = protocol.parse("PutMetricData", json.dumps(request).encode(), "cloudwatch")
    for datum in request["MetricData"]:
        _expect(now() - OLDEST <= datum["Timestamp"] <= now() + NEWEST)
        datum["Timestamp"] = datum["Timestamp"].replace(tzinfo=None)  # as moto keeps it, in UTC
        _expect(all(abs(value) <= LARGEST for value in datum["Values"]))
    return request


def _datum(document: dict[str, Any], metric: dict[str, Any]) -> dict[str, Any]:
    resolution, value = metric.get("StorageResolution", 60), document[metric["Name"]]
    values = value if isinstance(value, list) else [value]
    _expect(resolution in RESOLUTIONS and len(values) <= VALUES)
    return {
        "MetricName": metric["Name"],
        "Values": values,
        "Unit": metric.get("Unit", "None"),
        "StorageResolution": resolution,
    }


def _expect(right: object) -> None:
    if not right:
        raise ValueError


def _refuse(constant: str) -> None:
    """Python would take NaN and Infinity, which are not JSON."""
    raise ValueError(constant)


def _put_log_events(self: LogStream, log_events: list[dict[str, Any]]) -> str:
    """With the metrics in what was accepted (moto: without)."""
    token = _moto_put_log_events(self, log_events)
    metrics = cloudwatch_backends[self.account_id][self.region]
    for event in log_events:
        for request in requests(event["message"]):
            metrics.put_metric_data(request["Namespace"], request["MetricData"])
    return token


_moto_put_log_events = LogStream.put_log_events
CORRECTIONS: tuple[tuple[type, str, Callable[..., Any]], ...] = (
    (LogStream, "put_log_events", _put_log_events),
)
