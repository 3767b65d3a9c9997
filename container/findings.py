"""What `monitor` writes: files as Model Monitor's users know them, metrics, and a message.

Sources: SageMaker Developer Guide, model-monitor-byoc-statistics, model-monitor-byoc-constraints
and model-monitor-interpreting-violations: "Bring your own containers can adopt the same format or
enhance it as required." Ours adds range_check and accuracy_check.
"""

import json
from argparse import Namespace
from collections.abc import Iterable
from typing import Any, NamedTuple

import drift
import numpy as np
from baseline import Baseline
from captured import Captured

PREDICTION = "prediction"  # the answers' place among the features
BUCKETS = 10


class Violation(NamedTuple):
    feature_name: str
    constraint_check_type: str
    description: str


class Metrics(NamedTuple):
    dimensions: dict[str, str]
    values: dict[str, float]


def of_feature(
    name: str,
    shares: dict[str, float],
    changes: dict[str, drift.Difference],
    limits: Namespace,
) -> Iterable[Violation]:
    """`shares` of the rows: missing, wrong_type, out_of_range; `changes`: distance, stability."""
    if shares["missing"]:
        yield Violation(
            name, "completeness_check", f"{shares['missing']:.1%} of the values are missing."
        )
    if shares["wrong_type"] > limits.wrong_type:
        text = f"{shares['wrong_type']:.1%} of the values are no numbers."
        yield Violation(name, "data_type_check", text)
    if shares["out_of_range"] > limits.out_of_range:
        text = f"{shares['out_of_range']:.1%} of the values are outside the training data's range."
        yield Violation(name, "range_check", text)
    words = {"distance": "distance", "stability": "population stability index"}
    beyond = [
        f"{words[kind]} {change.size:.2f} (limit {vars(limits)[kind]})"
        for kind, change in changes.items()
        if change.real and change.size > vars(limits)[kind]
    ]
    if beyond:
        text = f"The distribution is not that of the training data: {', '.join(beyond)}."
        yield Violation(name, "baseline_drift_check", text)


def of_columns(found: Captured) -> Iterable[Violation]:
    for count, what, words in ((found.short, "missing", "fewer"), (found.long, "extra", "more")):
        if count:
            text = f"{count} rows have {words} values than there are features."
            yield Violation(f"{what.capitalize()} columns", f"{what}_column_check", text)


def of_labels(
    labels: list[str],
    expected: np.ndarray,
    actual: np.ndarray,
    balance: drift.Difference,
    limits: Namespace,
) -> Iterable[Violation]:
    """`expected`, `actual`: how many rows have each label."""
    unknown = [label for label, count in zip(labels, expected, strict=True) if not count]
    if unknown:
        text = f"Labels that the training data did not have: {', '.join(unknown)[:200]}."
        yield Violation(PREDICTION, "categorical_values_check", text)
    if balance.real and balance.size > limits.stability:
        shares = ", ".join(
            f"{label} {before:.0%} -> {now:.0%}"
            for label, before, now in zip(
                labels, expected / expected.sum(), actual / actual.sum(), strict=True
            )
        )
        text = f"The labels' shares have changed (index {balance.size:.2f}): {shares[:500]}."
        yield Violation(PREDICTION, "baseline_drift_check", text)


def of_accuracy(
    values: dict[str, float], before: float, change: drift.Difference, limits: Namespace
) -> Iterable[Violation]:
    if change.real and change.size > limits.accuracy_drop:
        text = (
            f"Accuracy {values['accuracy']:.3f} on {values['labelled_rows']} rows with known "
            f"labels; {before:.3f} in validation."
        )
        return [Violation(PREDICTION, "accuracy_check", text)]
    return []


def statistics(names: list[str], found: Captured) -> dict[str, Any]:
    """statistics.json, without the sketch of a distribution that Model Monitor adds."""
    features = [numerical(name, found.features[:, at]) for at, name in enumerate(names)]
    labels, counts = np.unique(np.array(found.predictions, str), return_counts=True)
    buckets = [{"value": str(v), "count": int(n)} for v, n in zip(labels, counts, strict=True)]
    prediction = {
        "common": {"num_present": len(found.predictions), "num_missing": 0},
        "distinct_count": len(labels),
        "distribution": {"categorical": {"buckets": buckets}},
    }
    features.append(
        {"name": PREDICTION, "inferred_type": "String", "string_statistics": prediction}
    )
    return {"version": 0, "dataset": {"item_count": len(found.features)}, "features": features}


def numerical(name: str, values: np.ndarray) -> dict[str, Any]:
    there = values[np.isfinite(values)]
    content: dict[str, Any] = {
        "common": {"num_present": len(there), "num_missing": len(values) - len(there)}
    }
    if len(there):
        counts, edges = np.histogram(there, BUCKETS)
        content |= {
            "mean": float(there.mean()),
            "sum": float(there.sum()),
            "std_dev": float(there.std()),
            "min": float(there.min()),
            "max": float(there.max()),
        }
        content["distribution"] = {
            "kll": {
                "buckets": [
                    {"lower_bound": float(low), "upper_bound": float(high), "count": int(count)}
                    for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
                ]
            }
        }
    return {"name": name, "inferred_type": "Fractional", "numerical_statistics": content}


def constraints(
    names: list[str], ranges: list[list[float]], baseline: Baseline, limits: Namespace
) -> dict[str, Any]:
    """constraints.json: what the training data and the limits ask of the captured data."""
    features: list[dict[str, Any]] = [
        {
            "name": name,
            "inferred_type": "Fractional",
            "completeness": 1.0,
            "num_constraints": {"is_non_negative": low >= 0, "range": [low, high]},
        }
        for name, (low, high) in zip(names, ranges, strict=True)
    ]
    labels = {"domains": list(baseline["labels"])}
    features.append(
        {
            "name": PREDICTION,
            "inferred_type": "String",
            "completeness": 1.0,
            "string_constraints": labels,
        }
    )
    config = {
        "evaluate_constraints": "Enabled",
        "emit_metrics": "Enabled",
        "datatype_check_threshold": limits.wrong_type,
        "domain_content_threshold": 0.0,
        "distribution_constraints": {
            "perform_comparison": "Enabled",
            "comparison_threshold": limits.distance,
            "comparison_method": "Robust",
        },
    }
    return {"version": 0, "features": features, "monitoring_config": config}


def embedded(metrics: Metrics, namespace: str, endpoint: str, at: float) -> str:
    """A line of log that CloudWatch makes metrics of; `at` in seconds since 1970."""
    dimensions = {"Endpoint": endpoint, **metrics.dimensions}
    directive = {
        "Namespace": namespace,
        "Dimensions": [list(dimensions)],
        "Metrics": [{"Name": name, "Unit": "None"} for name in metrics.values],
    }
    values = {name: float(value) for name, value in metrics.values.items()}
    head = {"Timestamp": int(at * 1000), "CloudWatchMetrics": [directive]}
    return json.dumps({"_aws": head, **dimensions, **values})


def message(violations: int, rows: int) -> str:
    """As Model Monitor words it."""
    if violations:
        return f"CompletedWithViolations: {violations} violations in {rows} rows."
    return f"Completed: no violations in {rows} rows."
