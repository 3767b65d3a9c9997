"""The web application; each worker loads the model when it is first asked."""

import functools
import io
import pickle

import pandas as pd
from flask import Flask, Response, request

app = Flask(__name__)


@functools.cache
def model():
    with open("/opt/ml/model/model.pkl", "rb") as file:
        return pickle.load(file)


@app.route("/ping")
def ping():
    return Response(status=200 if model() is not None else 404)


@app.route("/invocations", methods=["POST"])
def invocations():
    data = pd.read_csv(io.StringIO(request.get_data(as_text=True)), header=None)
    out = io.StringIO()
    pd.DataFrame({"results": model().predict(data.values)}).to_csv(out, header=False, index=False)
    return Response(out.getvalue(), mimetype="text/csv")
