"""The web side of service.py, with Flask: routes, headers and one log line an invocation."""

import threading
import time

import contract
import logs
import service
from flask import Flask, Response, request
from werkzeug.exceptions import BadRequest, HTTPException

served = service.load(contract.model_dir())
log = logs.Log(lambda *when: threading.Timer(*when).start())
app = Flask(__name__)
app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False


def reply(answer: service.Response) -> Response:
    return Response(answer.body, answer.status, answer.headers, content_type=answer.content_type)


@app.route("/ping", methods=service.ROUTES["/ping"])
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
    request.environ["answer"] = answer
    return reply(answer)


@app.errorhandler(HTTPException)
def http_error(error: HTTPException) -> Response:
    """What Flask itself refuses, in the same shape as all our errors."""
    if error.code in (404, 405):
        return reply(service.not_served(request.method, request.path))
    answer = service.error_response(error.code or 500, f"{error.name}: {error.description}")
    request.environ["answer"] = answer
    return reply(answer)


@app.before_request
def start_clock() -> None:
    request.environ["started"] = time.perf_counter()


@app.after_request
def log_invocation(response: Response) -> Response:
    """Not for pings: the platform sends one every few seconds."""
    if "answer" in request.environ:
        name = request.headers.get("X-Amzn-SageMaker-Inference-Id")
        seconds = time.perf_counter() - request.environ["started"]
        log.add(service.log_line(request.environ["answer"], name, seconds))
    return response
