"""Rung 3: without pandas. The lines are split, numpy makes numbers of them."""

import os

import joblib
import numpy as np
from flask import Flask, request

folder = os.environ.get("SM_MODEL_DIR", "/opt/ml/model")
model = joblib.load(f"{folder}/model.joblib")
app = Flask(__name__)


@app.get("/ping")
def ping():
    return ""


@app.post("/invocations")
def invocations():
    text = request.get_data(as_text=True)
    rows = np.array([line.split(",") for line in text.splitlines()], np.float32)
    return "".join(f"{label}\n" for label in model.predict(rows))
