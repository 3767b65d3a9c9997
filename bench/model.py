"""The model that all servers of the bench serve, the rows they are asked for, and the answers."""

import csv
import json
import pickle
import re
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import joblib  # type: ignore[import-untyped]
import numpy as np
from sklearn.tree import DecisionTreeClassifier

from byoc.errors import ByocError

FEATURES = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
SPECIES = re.compile("Adelie|Chinstrap|Gentoo")


def penguins() -> tuple[list[list[float]], list[str]]:
    """The rows without gaps: four numbers each, and their species."""
    with (resources.files("palmerpenguins") / "data/penguins.csv").open(encoding="utf-8") as file:
        table = [row for row in csv.DictReader(file) if "NA" not in map(row.get, FEATURES)]
    rows = [[float(row[name]) for name in FEATURES] for row in table]
    return rows, [row["species"] for row in table]


def write_penguins(path: Path) -> None:
    """The rows as a training file, the species last."""
    rows, species = penguins()
    with path.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow([*FEATURES, "species"])
        table.writerows([*row, label] for row, label in zip(rows, species, strict=True))


def many(count: int) -> list[list[float]]:
    """The penguins over and over, until there are so many rows."""
    rows = penguins()[0]
    return (rows * (count // len(rows) + 1))[:count]


def fit() -> DecisionTreeClassifier:
    """The tree of scikit-learn's servers: what our `train` fits on the same rows."""
    rows, species = penguins()
    return DecisionTreeClassifier(max_depth=4, random_state=0).fit(
        np.array(rows, np.float32), species
    )


def train(run: Callable[[Path], object], ml: Path) -> Path:
    """The model in every format, ours made by `run`, which runs our `train` on the folder `ml`.

    Returns the model's folder.
    """
    # The validation channel is the training's, so that no row is held out of it.
    for folder in ("input/config", "input/data/training", "input/data/validation", "model"):
        (ml / folder).mkdir(parents=True)
    for channel in ("training", "validation"):
        write_penguins(ml / "input/data" / channel / "penguins.csv")
    run(ml)
    joblib.dump(fit(), ml / "model/model.joblib")
    (ml / "model/model.pkl").write_bytes(pickle.dumps(fit()))
    return ml / "model"


def synthetic(folder: Path, nodes: int) -> Path:
    """A balanced tree of an odd number of nodes in our format: see container/algorithm.py."""
    random = np.random.default_rng(0)
    rows, species = penguins()
    low, high = np.min(rows, axis=0), np.max(rows, axis=0)
    classes = sorted(set(species))
    one = [("feature", "<i4"), ("threshold", "<f8"), ("left", "<i4"), ("right", "<i4")]
    table = np.zeros(nodes, [*one, ("probabilities", "<f8", (len(classes),))])
    inner, number = nodes // 2, np.arange(nodes)
    table["feature"] = np.where(number < inner, random.integers(0, 4, nodes), -1)
    chosen = table["feature"].clip(0)
    table["threshold"] = np.where(number < inner, random.uniform(low[chosen], high[chosen]), 0)
    for side, offset in (("left", 1), ("right", 2)):  # a heap: children follow their parents
        table[side] = np.where(number < inner, 2 * number + offset, -1)
    table["probabilities"][number, random.integers(0, len(classes), nodes)] = 1
    folder.mkdir(parents=True)
    np.save(folder / "tree.npy", table)
    ranges = [[float(a), float(b)] for a, b in zip(low, high, strict=True)]
    metadata = {"feature_names": FEATURES, "classes": classes, "training_ranges": ranges}
    (folder / "metadata.json").write_text(json.dumps(metadata))
    return folder


def check(answer: bytes, expected: list[str]) -> None:
    """Raise ByocError unless the answer names the species of the rows, in their order."""
    found = SPECIES.findall(answer.decode())
    if found != expected:
        wrong = sum(a != b for a, b in zip(found, expected, strict=False))
        raise ByocError(
            f"A wrong answer: {len(found)} species for {len(expected)} rows, {wrong} not the "
            f"model's: {answer[:200]!r}"
        )
