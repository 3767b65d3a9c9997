"""A service of BentoML: an array of rows in JSON, the species in JSON.

One worker a CPU is what BentoML's guide of workers gives for a model on CPUs
(docs.bentoml.com: Parallelize requests handling); here the bench says how many.
"""

import os

import bentoml
import joblib
import numpy as np


@bentoml.service(
    workers=int(os.environ.get("WORKERS", "2")),
    logging={"access": {"enabled": False}},  # as with the others, no line a request
)
class Penguins:
    """The model of the penguins."""

    def __init__(self) -> None:
        self.model = joblib.load("/opt/ml/model/model.joblib")

    @bentoml.api
    def predict(self, rows: np.ndarray) -> np.ndarray:
        """The species of each row."""
        return self.model.predict(rows)
