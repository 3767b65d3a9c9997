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
    if request.content_type != "text/csv":
        return Response("CSV only\n", status=415, mimetype="text/plain")
    rows = pd.read_csv(io.StringIO(request.data.decode()), header=None)
    print(f"rows: {len(rows)}")  # a line a request, as theirs
    out = io.StringIO()
    species = pd.DataFrame({"results": model().predict(rows)})
    species.to_csv(out, header=False, index=False)
    return Response(out.getvalue(), mimetype="text/csv")
