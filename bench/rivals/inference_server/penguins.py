"""The hooks: CSV or JSON in, JSON or CSV out."""

import io
import os

import inference_server
import joblib
import numpy as np
import orjson
from sklearn.tree import DecisionTreeClassifier


@inference_server.plugin_hook
def model_fn(model_dir: str) -> DecisionTreeClassifier:
    """Load the model."""
    return joblib.load(os.path.join(model_dir, "model.joblib"))


@inference_server.plugin_hook
def input_fn(input_data: bytes, content_type: str) -> np.ndarray:
    """The rows, of shape (n, 4)."""
    if content_type == "text/csv":
        return np.loadtxt(io.BytesIO(input_data), delimiter=",", ndmin=2)
    return np.array(orjson.loads(input_data)["instances"])


@inference_server.plugin_hook
def predict_fn(data: np.ndarray, model: DecisionTreeClassifier) -> np.ndarray:
    """The species, of shape (n,)."""
    return model.predict(data)


@inference_server.plugin_hook
def output_fn(prediction: np.ndarray, accept: inference_server.MIMEAccept) -> tuple[bytes, str]:
    """A list of the species in JSON, or one a line where the client asks for CSV."""
    if accept.best == "text/csv":
        return "".join(f"{species}\n" for species in prediction).encode(), "text/csv"
    return orjson.dumps(prediction.tolist()), "application/json"
