"""The web side of service.py, with Flask: routes, headers and one log line an invocation."""

import logging
import sys
import time
import uuid

import contract
import service
from flask import Flask, Response, request
from werkzeug.exceptions import BadRequest, HTTPException

logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
served = service.load(contract.model_dir())
app = Flask(__name__)


def reply(answer: service.Response) -> Response:
    return Response(answer.body, answer.status, answer.headers, content_type=answer.content_type)


@app.route("/ping", methods=["GET", "POST"])
def ping() -> Response:
    return reply(service.ping(served))


@app.get("/execution-parameters")
def execution_parameters() -> Response:
    return reply(service.execution_parameters())


def read_body() -> bytes:
    """The body, or a byte more than is allowed. The rest is then read and dropped: a caller that
    is still sending would see a broken connection instead of our answer."""
    try:
        body = request.stream.read(service.MAX_BYTES + 1)
        if len(body) < min(request.content_length or 0, service.MAX_BYTES):
            raise EOFError
        for _ in range(100 if len(body) > service.MAX_BYTES else 0):  # but not without end
            if not request.stream.read(2**20):
                break
    except (EOFError, OSError):
        raise BadRequest("The body ended too early: send it again.") from None
    return body


@app.post("/invocations")
def invocations() -> Response:
    answer = service.invocations(
        served,
        read_body(),
        request.headers.get("Content-Type"),
        request.headers.get("Accept"),
        request.headers.get(service.ATTRIBUTES),
    )
    request.environ["note"] = answer.note
    return reply(answer)


@app.errorhandler(HTTPException)
def http_error(error: HTTPException) -> Response:
    """What Flask itself refuses, such as 404 and 405, in the same shape as all our errors."""
    allowed = ", ".join(sorted(getattr(error, "valid_methods", None) or []))
    message = {
        404: f"There is nothing at {request.path[:80]!r}: use /ping or /invocations.",
        405: f"{request.method} is not for {request.path[:80]!r}: use {allowed}.",
    }.get(error.code or 500, f"{error.name}: {error.description}")
    answer = service.error_response(error.code or 500, message)
    request.environ["note"] = answer.note
    response = reply(answer)
    if allowed:
        response.headers["Allow"] = allowed
    return response


@app.before_request
def start_clock() -> None:
    request.environ["started"] = time.perf_counter()


@app.after_request
def log_invocation(response: Response) -> Response:
    """Not for pings: the platform sends one every few seconds."""
    if request.path == "/invocations":
        name = service.visible(request.headers.get("X-Amzn-SageMaker-Inference-Id"))
        name = name.replace(" ", "_")[:64]
        milliseconds = (time.perf_counter() - request.environ["started"]) * 1000
        logging.info(
            "invocation id=%s status=%d ms=%.1f %s",
            name or uuid.uuid4(),
            response.status_code,
            milliseconds,
            request.environ.get("note", ""),
        )
    return response
