"""The tree for rungs 4 and 5: a list of nodes that our `train` saved, walked in plain Python."""

import json
import os
from array import array

import numpy as np

folder = os.environ.get("SM_MODEL_DIR", "/opt/ml/model")
nodes = np.load(f"{folder}/tree.npy").tolist()
with open(f"{folder}/metadata.json") as file:
    classes = json.load(file)["classes"]


def label(line):
    """From the root: left where the feature is at most the threshold, until a leaf, without one."""
    row = array("f", map(float, line.split(",")))  # float32, as scikit-learn compares it
    feature, threshold, left, right, probabilities = nodes[0]
    while feature >= 0:
        node = left if row[feature] <= threshold else right
        feature, threshold, left, right, probabilities = nodes[node]
    return classes[probabilities.argmax()]
