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


def v2(rows: Rows) -> bytes:
    """One tensor of the Open Inference Protocol (V2), its values flat, row by row."""
    shape = [len(rows), len(rows[0])]
    data = [cell for row in rows for cell in row]
    tensor = {"name": "rows", "shape": shape, "datatype": "FP64", "data": data}
    return json.dumps({"inputs": [tensor]}).encode()


def named_rows(rows: Rows) -> bytes:
    """{"rows": [[...], ...]}: BentoML names the arguments of a service's method."""
    return json.dumps({"rows": rows}).encode()


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
FASTAPI = Rival(
    name="fastapi",
    title="FastAPI",
    folder=HERE / "rivals/fastapi",
    command=(),  # the image's own, as with the next three
    environment=lambda workers: {"WEB_CONCURRENCY": f"{workers}"},
    ping="/ping",
    csv=Ask("/predict/csv", "text/csv", csv_body),
    json=Ask("/predict", "application/json", instances),
)
BENTOML = Rival(
    name="bentoml",
    title="BentoML",
    folder=HERE / "rivals/bentoml",
    command=(),
    environment=lambda workers: {"WORKERS": f"{workers}"},
    ping="/readyz",
    csv=None,
    json=Ask("/predict", "application/json", named_rows),
)
MLSERVER = Rival(
    name="mlserver",
    title="MLServer",
    folder=HERE / "rivals/mlserver",
    command=(),
    environment=lambda workers: {"MLSERVER_PARALLEL_WORKERS": f"{workers}"},
    ping="/v2/models/penguins/ready",
    csv=None,
    json=Ask("/v2/models/penguins/infer", "application/json", v2),
)
# Its pool is what its documentation advises; a small tree is quicker without.
MLSERVER_ALONE = replace(
    MLSERVER,
    name="mlserver_alone",
    title="MLServer, without its pool",
    environment=lambda workers: {"MLSERVER_PARALLEL_WORKERS": "0"},
)
INFERENCE_SERVER = Rival(
    name="inference_server",
    title="inference-server",
    folder=HERE / "rivals/inference_server",
    command=(),
    environment=lambda workers: {"WEB_CONCURRENCY": f"{workers}"},
    ping="/ping",
    csv=CSV,
    json=JSON,
)
# What the worker costs without any work of ours: our image and `serve`, a constant answer.
CONSTANT = replace(OURS, name="constant", title="a constant answer", folder=HERE / "constant")
RIVALS: tuple[Rival, ...] = (
    OURS,
    OURS_FLASK,
    TUTORIAL,
    AWS_SAMPLE,
    FASTAPI,
    BENTOML,
    MLSERVER,
    MLSERVER_ALONE,
    INFERENCE_SERVER,
    CONSTANT,
)
