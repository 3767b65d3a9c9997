"""Who is measured beside whom: how each server is built, started and asked.

All serve one model, a scikit-learn DecisionTreeClassifier of the penguins, from /opt/ml/model:
model.joblib (joblib) and model.pkl (pickle), which scikit-learn 1.7.2 and numpy 2.3.5 wrote, and
tree.npy with metadata.json, which our own `train` wrote. All listen on port 8080. An answer may
have any form, as long as it names the species of the rows in their order.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

HERE = Path(__file__).parent
Rows = list[list[float]]


def csv_body(rows: Rows) -> bytes:
    """A row a line, without a header; 27 bytes a penguin."""
    return "".join(",".join(f"{cell:.2f}" for cell in row) + "\n" for row in rows).encode()


def instances(rows: Rows) -> bytes:
    """{"instances": [[...], ...]}, as many servers take it."""
    return json.dumps({"instances": rows}).encode()


@dataclass(frozen=True)
class Ask:
    """How rows are sent: POST `body(rows)` to `path`."""

    path: str
    content_type: str
    body: Callable[[Rows], bytes]


@dataclass(frozen=True)
class Rival:
    """A server in its recommended production setting."""

    name: str
    title: str  # as a reader knows it
    folder: Path  # what the image is built from; its Dockerfile takes ARG BASE
    command: tuple[str, ...]
    environment: Callable[[int], dict[str, str]]  # number of workers -> variables
    ping: str  # the path that answers 200 when the server can predict
    csv: Ask | None  # None: it does not take this format
    json: Ask | None

    @property
    def image(self) -> str:
        """The tag; rivals of one folder share the image."""
        return f"byoc-bench/{self.folder.name}:1"


CSV = Ask("/invocations", "text/csv", csv_body)
JSON = Ask("/invocations", "application/json", instances)


def ours(name: str, title: str, adapter: str) -> Rival:
    def environment(workers: int) -> dict[str, str]:
        return {"SAGEMAKER_MODEL_SERVER_WORKERS": f"{workers}", "MODEL_SERVER_ADAPTER": adapter}

    folder = HERE.parent / "container"
    return Rival(name, title, folder, ("serve",), environment, "/ping", CSV, JSON)


OURS = ours("ours", "ours", "asgi")
OURS_FLASK = ours("ours_flask", "ours, with Flask", "flask")
TUTORIAL = Rival(
    name="tutorial",
    title="the usual tutorial",
    folder=HERE / "rivals/tutorial",
    command=("serve",),
    environment=lambda workers: {},  # Flask's own server: one process, a thread a connection
    ping="/ping",
    csv=CSV,
    json=JSON,
)
AWS_SAMPLE = Rival(
    name="aws_sample",
    title="AWS's sample",
    folder=HERE / "rivals/aws_sample",
    command=("serve",),
    environment=lambda workers: {"MODEL_SERVER_WORKERS": f"{workers}"},
    ping="/ping",
    csv=CSV,
    json=None,  # it answers 415 to all but CSV
)
# What the worker costs without any work of ours: our image and `serve`, a constant answer.
CONSTANT = replace(OURS, name="constant", title="a constant answer", folder=HERE / "constant")
RIVALS: tuple[Rival, ...] = (OURS, OURS_FLASK, TUTORIAL, AWS_SAMPLE, CONSTANT)
