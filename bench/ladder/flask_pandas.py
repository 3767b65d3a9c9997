"""Rungs 1 and 2: pandas reads the request into a table, scikit-learn predicts from it."""

import io
import os

import joblib
import pandas as pd
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
    rows = pd.read_csv(io.StringIO(text), header=None)
    return "".join(f"{label}\n" for label in model.predict(rows))
