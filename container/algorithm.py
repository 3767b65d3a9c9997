"""The one file to replace with your own model: HYPERPARAMETERS, fit, save, load, and predict
in its three forms.

Here: scikit-learn's decision tree. It is saved as a table of numbers, which can't run code when
loaded as a pickle can, and is walked with numpy, so that a server needs no scikit-learn.
"""

import json
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

PART = 2**14  # rows that are walked together: so many fit a processor's cache
LIBRARIES = ("numpy", "scikit-learn")  # whose versions are noted beside the model

HYPERPARAMETERS: dict[str, dict[str, Any]] = {
    "max_depth": {"type": int, "default": 4, "min": 1, "max": 64, "null": True},
    "min_samples_leaf": {"type": int, "default": 1, "min": 1},
    "criterion": {"type": str, "default": "gini", "choices": ("gini", "entropy", "log_loss")},
}


class Model:
    """A row a node in `nodes`, the root first; `labels` holds the label that each would give."""

    def __init__(self, nodes: np.ndarray, classes: np.ndarray) -> None:
        self.nodes, self.classes = nodes, classes
        labels = classes.astype(object) if classes.dtype.kind == "U" else classes
        self.labels = labels[nodes["probabilities"].argmax(axis=1)]
        # For `walk`: each node's children side by side; a leaf is its own, whatever is compared.
        leaf, itself = nodes["feature"] < 0, np.arange(len(nodes))
        children = np.where(leaf, itself, [nodes["left"], nodes["right"]])
        self.children = np.ascontiguousarray(children.T, np.intp).ravel()
        self.columns = np.where(leaf, 0, nodes["feature"]).astype(np.intp)
        self.thresholds = np.ascontiguousarray(nodes["threshold"])
        # For `predict_one`: Python takes a number out of these sooner than out of numpy's arrays.
        self.feature, self.threshold = array("i", nodes["feature"]), array("d", nodes["threshold"])
        self.left, self.right = array("i", nodes["left"]), array("i", nodes["right"])


def node_type(classes: int) -> np.dtype:
    """A node: go left if row[feature] <= threshold, else right. A leaf has -1 for all three."""
    return np.dtype(
        [
            ("feature", "<i4"),
            ("threshold", "<f8"),
            ("left", "<i4"),
            ("right", "<i4"),
            ("probabilities", "<f8", (classes,)),
        ]
    )


def fit(features: np.ndarray, labels: np.ndarray, hyperparameters: dict[str, Any]) -> Model:
    """Train on float32 features and labels: numbers or texts, as `predict` shall return them.

    `hyperparameters` also holds train's `seed`.
    """
    from sklearn.tree import DecisionTreeClassifier  # here, so that a server never imports it

    tree = DecisionTreeClassifier(
        **{name: hyperparameters[name] for name in HYPERPARAMETERS},
        random_state=hyperparameters["seed"],
    ).fit(features, labels)
    grown, leaf = tree.tree_, tree.tree_.children_left < 0
    nodes = np.zeros(grown.node_count, node_type(len(tree.classes_)))
    nodes["feature"] = np.where(leaf, -1, grown.feature)
    nodes["threshold"] = np.where(leaf, 0, grown.threshold)
    nodes["left"], nodes["right"] = grown.children_left, grown.children_right
    nodes["probabilities"] = grown.value[:, 0, :]
    return Model(nodes, tree.classes_)


def save(model: Model, folder: Path) -> None:
    """Write tree.npy. `train` writes metadata.json, with the classes, beside it."""
    np.save(folder / "tree.npy", model.nodes, allow_pickle=False)


def load(folder: Path) -> Model:
    """Read the model back, trusting nothing in the file: a ValueError says what is wrong."""
    metadata = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
    classes, count = np.array(metadata["classes"]), len(metadata["feature_names"])
    nodes = np.load(folder / "tree.npy", allow_pickle=False)
    if not isinstance(nodes, np.ndarray) or nodes.dtype != node_type(len(classes)):
        raise ValueError("tree.npy does not hold the nodes of a tree for these classes")
    if nodes.ndim != 1 or not len(nodes):
        raise ValueError("tree.npy must be a list of at least one node")
    leaf = nodes["feature"] == -1
    inner, place = nodes[~leaf], np.flatnonzero(~leaf)
    if (nodes["feature"] < -1).any() or (nodes["feature"] >= count).any():
        raise ValueError(f"tree.npy asks for a feature that is not among the {count}")
    for side in ("left", "right"):
        # Children behind their parent: a walk can neither leave the table nor go in circles.
        if (inner[side] <= place).any() or (inner[side] >= len(nodes)).any():
            raise ValueError(f"tree.npy has a node whose {side} child is out of place")
    chances = nodes["probabilities"]
    if not np.isfinite(nodes["threshold"]).all() or not np.isfinite(chances).all():
        raise ValueError("tree.npy holds numbers that are not finite")
    if (chances < 0).any() or (abs(chances.sum(axis=1) - 1) > 1e-6).any():
        raise ValueError("tree.npy holds probabilities that do not add up to 1")
    return Model(nodes, classes)


def predict(model: Model, features: np.ndarray) -> np.ndarray:
    """The labels of float32 rows: the same as scikit-learn's, bit for bit."""
    return model.labels[leaves(model, features)]


def predict_proba(model: Model, features: np.ndarray) -> np.ndarray:
    """The probability of each class (a column) for each row."""
    return model.nodes["probabilities"][leaves(model, features)]


def leaves(model: Model, features: np.ndarray) -> np.ndarray:
    """The node where each row ends.

    As in scikit-learn, a float32 feature is compared with a float64 threshold.
    """
    parts = range(0, len(features), PART)
    return np.concatenate([walk(model, features[part : part + PART]) for part in parts])


def walk(model: Model, features: np.ndarray) -> np.ndarray:
    """From the root down, all rows together, until none moves."""
    cells = np.ascontiguousarray(features).ravel()
    first = np.arange(len(features)) * features.shape[1]  # of each row in `cells`
    at, before = np.zeros(len(features), np.intp), None
    while before is None or (at != before).any():
        right = cells.take(first + model.columns.take(at)) > model.thresholds.take(at)
        at, before = model.children.take(2 * at + right), at
    return at


def predict_one(model: Model, row: Sequence[float]) -> str:
    """The label of one row: the same, without numpy's cost for each call."""
    feature, threshold, left, right = model.feature, model.threshold, model.left, model.right
    at = 0
    while (column := feature[at]) >= 0:
        at = left[at] if row[column] <= threshold[at] else right[at]
    return model.labels[at]
