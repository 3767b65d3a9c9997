"""Rung 4: without scikit-learn. The tree is a list of nodes, tree.py walks from its root."""

from flask import Flask, request
from tree import label

app = Flask(__name__)


@app.get("/ping")
def ping():
    return ""


@app.post("/invocations")
def invocations():
    text = request.get_data(as_text=True)
    return "".join(f"{label(line)}\n" for line in text.splitlines())
