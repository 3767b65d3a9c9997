"""y = a + b·x for each x; requests and answers are read and written by the toolkit."""

import json
import os

import numpy as np


def model_fn(model_dir):
    """The line that training left."""
    with open(os.path.join(model_dir, "line.json")) as file:
        return json.load(file)


def predict_fn(data, model):
    """Rows in, rows out."""
    return np.round(model["a"] + model["b"] * np.asarray(data, float), model["decimals"])
