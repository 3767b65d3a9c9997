"""A request without HTTP: body and headers in, a Response out. `asgi.py` and `app.py` put it on
the web.

Source of the rules: SageMaker Developer Guide, your-algorithms-inference-code and
your-algorithms-batch-code; API InvokeEndpoint.
"""

import functools
import json
import logging
import os
import re
import struct
from pathlib import Path
from typing import NamedTuple

import algorithm
import answers
import contract
import memory
import numpy as np
import plain
import rows

log = logging.getLogger("service")
READERS = {
    answers.CSV: rows.from_csv,
    answers.JSON: rows.from_json,
    answers.LINES: rows.from_jsonlines,
}
ONE_ROW = {answers.CSV: plain.one_csv, answers.JSON: plain.one_json}
KNOWN = ", ".join(READERS)
ROUTES = {  # path -> methods
    "/ping": ("GET", "POST"),
    "/invocations": ("POST",),
    "/execution-parameters": ("GET",),
}
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"  # the one header of ours that reaches the caller
MAX_MB = contract.setting("MAX_PAYLOAD_MB", 25)
MAX_BYTES = MAX_MB * 1024**2
memory.keep()  # here and in the workers, which are this process's forks


class Response(NamedTuple):
    status: int
    content_type: str
    body: bytes
    headers: dict[str, str]
    note: str  # for the log


class Served(NamedTuple):
    """The model, with what its metadata says."""

    model: algorithm.Model
    names: list[str]
    classes: list[str]
    form: struct.Struct  # of one row
    low: list[float]  # for each feature; what is below is far outside the training data
    high: list[float]


def load(folder: Path) -> Served | str:
    """The model, or the reason why there is none: /ping gives it, where an exception here would
    make the server start over and over."""
    try:
        model = algorithm.load(folder)
        metadata = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
        names, classes = (list(map(str, metadata[k])) for k in ("feature_names", "classes"))
        lowest, highest = np.array(metadata["training_ranges"], float).reshape(len(names), 2).T
        # Far outside: by more than half of the range that the training data has.
        margin = (highest - lowest) / 2
        low, high = (lowest - margin).tolist(), (highest + margin).tolist()
        return Served(model, names, classes, struct.Struct(f"{len(names)}f"), low, high)
    except Exception as error:
        reason = contract.shown(f"The model can't be used: {type(error).__name__}: {error}.")
        log.error(reason)
        return reason


def ping(served: Served | str) -> Response:
    """200 only if a prediction works; else 503 with the reason, and SageMaker sends no request."""
    if isinstance(served, str):
        return error_response(503, served)
    try:
        middle = [(low + high) / 2 for low, high in zip(served.low, served.high, strict=True)]
        algorithm.predict(served.model, np.array([middle], np.float32))
    except Exception as error:
        log.exception("The model fails to predict:")
        return error_response(503, f"The model fails to predict: {type(error).__name__}: {error}.")
    return Response(200, "text/plain", b"", {}, "")


def execution_parameters() -> Response:
    """What batch transform should send. Payload x transforms may not exceed 100 MB."""
    megabytes = min(6, MAX_MB)
    content = {
        "MaxConcurrentTransforms": min(os.cpu_count() or 1, 100 // megabytes),
        "BatchStrategy": "MULTI_RECORD",
        "MaxPayloadInMB": megabytes,
    }
    return Response(200, answers.JSON, json.dumps(content).encode(), {}, "")


def invocations(
    served: Served | str,
    body: bytes,
    content_type: str | None,
    accept: str | None,
    attributes: str | None,
) -> Response:
    """Answer a request; `attributes` is the caller's Custom-Attributes header, passed back."""
    try:
        response = answer(served, body, content_type or "", accept or "*/*")
    except rows.BadRows as fault:
        response = error_response(400, str(fault))
    except Exception:
        log.exception("A bug in the server:")
        response = error_response(500, "The server failed; its log holds the reason.")
    if attributes and (own := visible(attributes)[:1024]):
        joined = ";".join([own, *response.headers.values()])
        # 1,024 characters is the platform's limit; the caller's own part is never cut for ours.
        return response._replace(headers={ATTRIBUTES: joined if len(joined) <= 1024 else own})
    return response


def answer(served: Served | str, body: bytes, content_type: str, accept: str) -> Response:
    if isinstance(served, str):
        return error_response(503, served)
    if len(body) > MAX_BYTES:
        return error_response(
            413, f"The body is over {MAX_MB} MB: send fewer rows a request or raise MAX_PAYLOAD_MB."
        )
    kind, wanted, verbose = answers.negotiate(content_type, accept)
    if kind not in READERS:
        return error_response(415, f"Content-Type {kind[:80]!r} is not known: send {KNOWN}.")
    if not wanted:
        return error_response(406, f"Accept {accept[:80]!r} can't be met: ask for {KNOWN}.")
    if kind in ONE_ROW and not verbose and (label := label_of_one(served, body, kind)):
        return one_label(label, wanted)
    features = READERS[kind](body, served.names)
    labels = algorithm.predict(served.model, features)
    probabilities = algorithm.predict_proba(served.model, features) if verbose else None
    flag = far_rows(served, features)
    shown = answers.render(labels, probabilities, served.classes, wanted)
    note = f"rows={len(features)} {flag}" if flag else f"rows={len(features)}"
    return Response(200, wanted, shown.encode(), {ATTRIBUTES: flag} if flag else {}, note)


@functools.lru_cache(maxsize=1024)
def one_label(label: str, wanted: str) -> Response:
    """The answer to a single row."""
    shown = answers.render(np.array([label], object), None, [], wanted)
    return Response(200, wanted, shown.encode(), {}, "rows=1")


def label_of_one(served: Served, body: bytes, kind: str) -> str | None:
    """The label, if the request is what most are: one plain row, not far outside the training data.

    In pure Python, since numpy's calls take longer to begin than all of this.
    """
    row = ONE_ROW[kind](body, served.form) if len(body) < plain.SHORT else None
    if not row:
        return None
    for low, value, high in zip(served.low, row, served.high, strict=True):
        if not low <= value <= high:
            return None
    return algorithm.predict_one(served.model, row)


def far_rows(served: Served, features: np.ndarray) -> str:
    """Which rows are far outside the training data, or ""."""
    columns = zip(served.low, features.T, served.high, strict=True)
    if all(low <= column.min() and column.max() <= high for low, column, high in columns):
        return ""
    far = (features < served.low) | (features > served.high)
    rows = np.flatnonzero(far.any(axis=1)) + 1
    more = f",...({len(rows)})" if len(rows) > 10 else ""
    return "out-of-range=" + ",".join(map(str, rows[:10])) + more


def not_served(method: str, path: str) -> Response:
    """404 or 405: what ROUTES does not hold."""
    if path not in ROUTES:
        return error_response(404, f"There is nothing at {path[:80]!r}: use /ping or /invocations.")
    allowed = ", ".join(ROUTES[path])
    answer = error_response(405, f"{method} is not for {path!r}: use {allowed}.")
    return answer._replace(headers={"Allow": allowed})


def error_response(status: int, message: str) -> Response:
    body = json.dumps({"error": message})
    return Response(status, answers.JSON, body.encode(), {}, f"error={json.dumps(message)}")


def log_line(response: Response, inference_id: str | None, seconds: float) -> str:
    """One line an invocation; `inference_id` is the caller's name for it."""
    name = visible(inference_id).replace(" ", "_")[:64] if inference_id else ""
    milliseconds = seconds * 1000
    return (
        f"invocation id={name or '-'} status={response.status} ms={milliseconds:.2f} "
        f"{response.note}"
    )


def visible(text: str) -> str:
    """Only what may stand in a header or a log line: no control characters, ASCII."""
    return re.sub(r"[^\x20-\x7e]", "", text)
