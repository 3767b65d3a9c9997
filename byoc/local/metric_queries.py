"""What CloudWatch answers about a metric: of that one alone.

A metric is its namespace, its name and exactly its dimensions; moto adds up others of the same
name. Source: CloudWatch User Guide, cloudwatch_concepts, "Dimensions"; API Reference,
GetMetricStatistics, GetMetricData, ListMetrics.
"""

import copy
from collections.abc import Callable, Iterable
from typing import Any

from moto.cloudwatch.models import CloudWatchBackend, MetricDatumBase

from byoc.local.errors import not_implemented


class _View:
    """The data that one request may see, where moto looks for all of them."""

    def __init__(self, data: Iterable[MetricDatumBase]) -> None:
        self._data = list(data)

    def get_all_metrics(self) -> list[MetricDatumBase]:
        return self._data


def _key(datum: MetricDatumBase) -> tuple[str, str, list[tuple[Any, Any]]]:
    dimensions = sorted((d.name, d.value) for d in datum.dimensions)
    return datum.namespace, datum.name, dimensions


def _of(backend: CloudWatchBackend, namespace: str, name: str, dimensions: Any) -> _View:
    wanted = namespace, name, sorted((d["Name"], d["Value"]) for d in dimensions or [])
    return _View(d for d in backend.get_all_metrics() if _key(d) == wanted)


def _get_metric_statistics(
    self: CloudWatchBackend,
    namespace: str,
    metric_name: str,
    *rest: Any,
    dimensions: Any = None,
    **more: Any,
) -> Any:
    view = _of(self, namespace, metric_name, dimensions)
    return _moto_get_metric_statistics(view, namespace, metric_name, *rest, dimensions=[], **more)


def _get_metric_data(
    self: CloudWatchBackend, queries: list[dict[str, Any]], *rest: Any, **more: Any
) -> Any:
    """Each query gets its metric under a namespace of its own, so that moto finds no other."""
    data: list[MetricDatumBase] = []
    asked = []
    for query in queries:
        if query.get("Expression", "").startswith("SELECT"):
            raise not_implemented("GetMetricData with Metrics Insights queries")
        if "MetricStat" in query:
            metric, own = query["MetricStat"]["Metric"], query["Id"]
            view = _of(self, metric["Namespace"], metric["MetricName"], metric.get("Dimensions"))
            for datum in map(copy.copy, view.get_all_metrics()):
                datum.namespace = own
                data.append(datum)
            metric = {"Namespace": own, "MetricName": metric["MetricName"]}
            query = {**query, "MetricStat": {**query["MetricStat"], "Metric": metric}}
        asked.append(query)
    return _moto_get_metric_data(_View(data), asked, *rest, **more)


def _get_filtered_metrics(
    self: CloudWatchBackend, metric_name: str, namespace: str, dimensions: Any
) -> list[MetricDatumBase]:
    """Each metric once (moto: one without dimensions, or with two, once for each value)."""
    found = {
        (*_key(datum)[:2], tuple(_key(datum)[2])): datum
        for datum in self.get_all_metrics()
        if datum.filter(namespace, metric_name, dimensions)
    }
    return list(found.values())


_moto_get_metric_statistics: Any = CloudWatchBackend.get_metric_statistics
_moto_get_metric_data: Any = CloudWatchBackend.get_metric_data
CORRECTIONS: tuple[tuple[type, str, Callable[..., Any]], ...] = (
    (CloudWatchBackend, "get_metric_statistics", _get_metric_statistics),
    (CloudWatchBackend, "get_metric_data", _get_metric_data),
    (CloudWatchBackend, "get_filtered_metrics", _get_filtered_metrics),
)
