"""What a model was trained on, in few numbers: `monitor` compares what an endpoint is sent with it.

`train` writes it beside the model, so that each model has its own.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dataset
import numpy as np

FILE = "baseline.json"
SAMPLE = 2**14  # rows that are looked at
KEPT = 512  # values of each feature

Baseline = dict[str, Any]  # rows; labels: name -> rows; features: name -> values in order; ...


def of(part: dataset.Table) -> Baseline:
    """All values of each feature, or KEPT of them, evenly spaced by rank; the labels' counts."""
    count = len(part.labels)
    random = np.random.default_rng(0)  # its own, so that the model does not depend on it
    chosen = random.choice(count, min(count, SAMPLE), replace=False, shuffle=False)
    sample = part.features.take(chosen, axis=0)
    numbers = np.bincount(part.labels, minlength=len(part.classes)).tolist()
    features = zip(part.columns, sample.T, strict=False)  # the label's column has no values here
    return {
        "rows": count,
        "labels": dict(zip(part.classes, numbers, strict=True)),
        "features": {name: kept(values, np.ones(len(values))) for name, values in features},
    }


def kept(values: np.ndarray, weights: np.ndarray) -> list[float]:
    """At most KEPT values, in order."""
    ranks = (np.arange(KEPT) + 0.5) / KEPT
    if len(values) > KEPT:
        values = np.quantile(values, ranks, weights=weights, method="inverted_cdf")
    return [float(str(value)) for value in np.sort(values)]  # float32 as short as it can be written


def join(parts: Sequence[Baseline]) -> Baseline:
    """One of several, each of another shard."""
    labels: dict[str, int] = {}
    for part in parts:
        for name, count in part["labels"].items():
            labels[name] = labels.get(name, 0) + count
    features = {}
    for name in parts[0]["features"]:
        shards = [np.array(part["features"][name], np.float32) for part in parts]
        weights = [np.full(len(s), p["rows"] / len(s)) for s, p in zip(shards, parts, strict=True)]
        features[name] = kept(np.concatenate(shards), np.concatenate(weights))
    rows = sum(part["rows"] for part in parts)
    return {"rows": rows, "labels": dict(sorted(labels.items())), "features": features}


def read(folder: Path) -> Baseline:
    return json.loads((folder / FILE).read_text(encoding="utf-8"))


def write(baseline: Baseline, folder: Path) -> None:
    (folder / FILE).write_text(json.dumps(baseline) + "\n", encoding="utf-8")
