"""The one file to replace with your own model: HYPERPARAMETERS, STEPS, fit, renamed, join, save,
load, and predict in its three forms.

Here: scikit-learn's decision tree, or several whose probabilities are added: a step of training
grows one. They are saved as a table of numbers, which can't run code when loaded as a pickle can,
and are walked with numpy, so that a server needs no scikit-learn.
Source: Breiman, Bagging predictors, 1996.
"""

import json
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

PART = 2**14  # rows that are walked together: so many fit a processor's cache
LARGEST = 2**28  # bytes of a file of the model that is read at all: a tree takes thousands
LIBRARIES = ("numpy", "scikit-learn")  # whose versions are noted beside the model

HYPERPARAMETERS: dict[str, dict[str, Any]] = {
    "max_depth": {"type": int, "default": 4, "min": 1, "max": 64, "null": True},
    "min_samples_leaf": {"type": int, "default": 1, "min": 1},
    "criterion": {"type": str, "default": "gini", "choices": ("gini", "entropy", "log_loss")},
    "trees": {"type": int, "default": 1, "min": 1, "max": 1000},
}
STEPS = "trees"  # says how often `fit` is called for one model


class Model:
    """A row a node in `nodes`, tree after tree; a node that is no one's child is a tree's root.

    `labels` holds the label that each node would give alone.
    """

    def __init__(self, nodes: np.ndarray, classes: np.ndarray) -> None:
        self.nodes, self.classes = nodes, classes
        self.names = classes.astype(object) if classes.dtype.kind == "U" else classes
        self.labels = self.names[nodes["probabilities"].argmax(axis=1)]
        leaf, itself = nodes["feature"] < 0, np.arange(len(nodes))
        inner = nodes[~leaf]
        self.roots = np.setdiff1d(itself, [*inner["left"], *inner["right"]]).tolist()
        # For `walk`: each node's children side by side; a leaf is its own, whatever is compared.
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


def fit(
    features: np.ndarray,
    labels: np.ndarray,
    hyperparameters: dict[str, Any],
    before: Model | None = None,
) -> Model:
    """One step of training: grow a tree, and join it to the model of the steps `before`.

    float32 features and labels: numbers or texts, as `predict` shall return them.
    `hyperparameters` also holds train's `seed`.
    """
    from sklearn.tree import DecisionTreeClassifier  # here, so that a server never imports it

    seed, weights = hyperparameters["seed"], None
    if hyperparameters[STEPS] > 1:
        # Each tree has its own seed and draws its own rows; what is resumed comes out the same.
        random = np.random.default_rng([seed, len(before.roots) if before else 0])
        seed = int(random.integers(2**32))
        drawn = random.integers(len(labels), size=len(labels))
        weights = np.bincount(drawn, minlength=len(labels))
    names = ("max_depth", "min_samples_leaf", "criterion")
    options = {name: hyperparameters[name] for name in names}
    tree = DecisionTreeClassifier(**options, random_state=seed)
    model = table(tree.fit(features, labels, sample_weight=weights))
    return join([before, model]) if before else model


def table(tree: Any) -> Model:
    """scikit-learn's tree as a Model."""
    grown, leaf = tree.tree_, tree.tree_.children_left < 0
    nodes = np.zeros(grown.node_count, node_type(len(tree.classes_)))
    nodes["feature"] = np.where(leaf, -1, grown.feature)
    nodes["threshold"] = np.where(leaf, 0, grown.threshold)
    nodes["left"], nodes["right"] = grown.children_left, grown.children_right
    nodes["probabilities"] = grown.value[:, 0, :]
    return Model(nodes, tree.classes_)


def renamed(model: Model, classes: Sequence[Any]) -> Model:
    """The same with other names for its classes, in their order."""
    return Model(model.nodes, np.array(classes))


def join(models: Sequence[Model]) -> Model:
    """One model with the trees of all, which may know different classes."""
    classes, parts, count = np.unique(np.concatenate([m.classes for m in models])), [], 0
    for model in models:
        nodes, inner = np.zeros(len(model.nodes), node_type(len(classes))), model.nodes["left"] >= 0
        nodes["feature"], nodes["threshold"] = model.nodes["feature"], model.nodes["threshold"]
        for side in ("left", "right"):
            nodes[side] = model.nodes[side] + count * inner
        nodes["probabilities"][:, classes.searchsorted(model.classes)] = model.nodes[
            "probabilities"
        ]
        parts.append(nodes)
        count += len(nodes)
    return Model(np.concatenate(parts), classes)


def save(model: Model, folder: Path) -> None:
    """Write tree.npy. `train` writes metadata.json, with the classes, beside it."""
    np.save(folder / "tree.npy", model.nodes, allow_pickle=False)


def load(folder: Path) -> Model:
    """Read the model back, trusting nothing in the file: a ValueError says what is wrong."""
    for name in ("metadata.json", "tree.npy"):
        if (folder / name).stat().st_size > LARGEST:  # a hole takes no disk, but memory
            raise ValueError(f"{name} is larger than {LARGEST // 2**20} MB")
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
    """The labels of float32 rows: of one tree the same as scikit-learn's, bit for bit."""
    if len(model.roots) == 1:
        return model.labels[leaves(model, features, model.roots[0])]
    return model.names[predict_proba(model, features).argmax(axis=1)]


def predict_proba(model: Model, features: np.ndarray) -> np.ndarray:
    """The probability of each class (a column) for each row: the mean of all trees."""
    chances = model.nodes["probabilities"]
    every = (chances[leaves(model, features, root)] for root in model.roots)
    total = next(every)
    for one in every:
        total += one
    return total / len(model.roots)


def leaves(model: Model, features: np.ndarray, root: int) -> np.ndarray:
    """The node where each row ends in the tree of this root.

    As in scikit-learn, a float32 feature is compared with a float64 threshold.
    """
    parts = range(0, len(features), PART)
    return np.concatenate([walk(model, features[part : part + PART], root) for part in parts])


def walk(model: Model, features: np.ndarray, root: int) -> np.ndarray:
    """From the root down, all rows together, until none moves."""
    cells = np.ascontiguousarray(features).ravel()
    first = np.arange(len(features)) * features.shape[1]  # of each row in `cells`
    at, before = np.full(len(features), root, np.intp), None
    while before is None or (at != before).any():
        right = cells.take(first + model.columns.take(at)) > model.thresholds.take(at)
        at, before = model.children.take(2 * at + right), at
    return at


def predict_one(model: Model, row: Sequence[float]) -> str:
    """The label of one row: the same, without numpy's cost for each call."""
    if len(model.roots) > 1:
        return predict(model, np.array([row], np.float32))[0]
    feature, threshold, left, right = model.feature, model.threshold, model.left, model.right
    at = 0
    while (column := feature[at]) >= 0:
        at = left[at] if row[column] <= threshold[at] else right[at]
    return model.labels[at]
