"""InvokeEndpoint and InvokeEndpointWithResponseStream.

Source: API Reference, runtime_InvokeEndpoint, runtime_InvokeEndpointWithResponseStream (botocore's
`sagemaker-runtime` model); Developer Guide, your-algorithms-inference-code.
"""

import functools
import json
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from botocore.model import Shape
from werkzeug.wrappers import Request, Response

from byoc.local import eventstream, protocol
from byoc.local.answer import Answer, request_id
from byoc.local.connections import Exchange, NoAnswer, TimedOut, Unreachable
from byoc.local.deployment import Deployment
from byoc.local.endpoint_metrics import Invocation
from byoc.local.errors import AWSError, not_implemented
from byoc.local.instances import Replica
from byoc.local.multi_model import Refused
from byoc.local.service import Context, operation_of
from byoc.local.variants import PAYLOAD

TIMEOUT = 60.0  # seconds for the container's answer
STREAM_TIMEOUT = 480.0  # seconds for a whole streamed answer. Source: deploy-model-options
DRAINED = 4 * PAYLOAD  # bytes of a body too large that are read so that the client hears why
MESSAGE = 2048  # characters of OriginalMessage. Source: the model's Message
PIECE = 64 * 1024  # bytes of one part of a stream at most

CUSTOM_ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
INFERENCE_ID = "X-Amzn-SageMaker-Inference-Id"
NEW_SESSION = "X-Amzn-SageMaker-New-Session-Id"
CLOSED_SESSION = "X-Amzn-SageMaker-Closed-Session-Id"
# The only headers that come back from the container.
RETURNED = {
    name: name.lower()
    for name in ("Content-Type", CUSTOM_ATTRIBUTES, INFERENCE_ID, NEW_SESSION, CLOSED_SESSION)
}
VISIBLE = re.compile(r"[\x20-\x7e\t]{0,1024}")  # what a header's value may be
NOT_IMPLEMENTED = ("TargetContainerHostname", "InferenceComponentName")

operation = operation_of("sagemaker-runtime")


@operation
def invoke_endpoint(context: Context, name: str, environ: dict[str, Any]) -> Answer | Response:
    """Pass the request to a container, chosen by variant, weight or session, and its answer back.

    Raises AWSError as AWS answers.
    """
    call = _Call(context, name, "InvokeEndpoint", environ)
    try:
        with call.watched():
            exchange = call.send()
            content = exchange.read(call.variant.payload)
        headers = call.returned(content)
        call.note(content)
        call.finish(exchange.status)
        headers["Content-Length"] = f"{len(content)}"
        return _answer(headers, [content])
    except _ModelError as error:
        call.finish(error.status)
        return error.response(call)
    finally:
        call.finish()


@operation
def invoke_endpoint_with_response_stream(
    context: Context, name: str, environ: dict[str, Any]
) -> Answer | Response:
    """Pass the request to a container, and its answer back in parts as they come."""
    call = _Call(context, name, "InvokeEndpointWithResponseStream", environ)
    try:
        with call.watched():
            exchange = call.send()
            content = b"" if _good(exchange) else exchange.read(call.variant.payload)
        headers = call.returned(content)
    except _ModelError as error:
        call.finish(error.status)
        return error.response(call)
    except BaseException:
        call.finish()
        raise
    if "Content-Type" in headers:
        headers["X-Amzn-SageMaker-Content-Type"] = headers.pop("Content-Type")
    headers["Content-Type"] = eventstream.CONTENT_TYPE
    exchange.until(call.received + STREAM_TIMEOUT)
    return _answer(headers, _Parts(call, exchange))


def _answer(headers: dict[str, str], chunks: Iterable[bytes]) -> Answer:
    headers["x-amzn-RequestId"] = request_id()
    return Answer("200 OK", list(headers.items()), chunks)


class _ModelError(Exception):
    """The container's answer is an error, or there is none (status 0)."""

    def __init__(self, status: int, original: str | None) -> None:
        super().__init__(original)
        self.status, self.original = status, original

    def response(self, call: "_Call") -> Response:
        """HTTP 424 with the container's own status and text, as AWS words it."""
        context, region = call.context, call.context.region
        kind = "client" if 400 <= self.status < 500 else "server"
        original = (self.original or "")[:MESSAGE]
        said = f'with message "{original}"'
        if self.original is None:
            said = "and could not load the entire response body"
        group = f"/aws/sagemaker/Endpoints/{call.name}"
        console = (
            f"https://{region}.console.aws.amazon.com/cloudwatch/home?region={region}"
            f"#logEventViewer:group={group}"
        )
        content = {
            "Message": (
                f"Received {kind} error ({self.status}) from primary {said}. "
                f"See {console} in account {context.account} for more information."
            ),
            "OriginalMessage": original,
            "OriginalStatusCode": self.status,
            "LogStreamArn": (
                f"arn:{context.partition}:logs:{region}:{context.account}:log-group:{group}"
                f":log-stream:{call.replica.stream}"
            ),
        }
        headers = {"x-amzn-ErrorType": "ModelError"}
        return Response(json.dumps(content), 424, headers, content_type="application/json")


class _Call:
    """One request on its way to a container and back; `finish` must end it."""

    def __init__(
        self, context: Context, name: str, operation: str, environ: dict[str, Any]
    ) -> None:
        self.received = time.monotonic()
        self.context, self.name = context, name
        values = tuple(map(environ.get, _variables(operation)))
        self._headers, members = _checked(operation, values)
        self._target, self._session = members.get("TargetVariant"), members.get("SessionId")
        self._deployment = _deployment(context, name)
        self._model = members.get("TargetModel")
        _check_target(name, self._deployment, self._model)
        self._body = _body(environ, self._deployment.payload)
        self._exchange: Exchange | None = None
        self._token: object | None = None

    def send(self) -> Exchange:
        """The container's answer up to its headers; an instance that is gone is passed by."""
        if (shadow := self._deployment.shadow) is not None:
            shadow.copy(self._body, self._headers, TIMEOUT, PAYLOAD)
        tried: set[Replica] = set()
        while True:
            self.variant, instance, self.replica, self._token = self._deployment.enter(
                self._target, self._session, tried, self._model
            )
            path = self._path()
            self._sent = time.monotonic()
            try:
                self._exchange = self.replica.connections.send(
                    path, self._body, self._headers, self._sent + TIMEOUT
                )
                if self._exchange.status == 404 and self._model and self.replica.models:
                    self.replica.models.doubt(self._model)
                return self._exchange
            except Unreachable:
                instance.suspect()
                tried.add(self.replica)
                self.replica.leave(self._token)
                self._token = None

    def _path(self) -> str:
        """Where the container takes the request, once it has the model that it is for."""
        models = self.replica.models
        if models is None or self._model is None:
            return "/invocations"
        self._sent = time.monotonic()
        measure = self.variant.meter.measure
        try:
            return models.enter(self._model, self._token, self.received + TIMEOUT, measure)
        except Refused as error:
            raise _ModelError(error.status, error.text) from None
        except AWSError:
            self.replica.leave(self._token)
            self._token = None
            raise

    @contextmanager
    def watched(self) -> Iterator[None]:
        """What goes wrong with the container, as AWS words it."""
        try:
            yield
        except TimedOut:
            raise _ModelError(
                0,
                "Your invocation timed out while waiting for a response from container primary. "
                "Review the latency metrics for each container in Amazon CloudWatch, resolve the "
                "issue, and try again.",
            ) from None
        except NoAnswer:
            if self._exchange is not None and not _good(self._exchange):
                raise _ModelError(self._exchange.status, None) from None
            raise self._no_response() from None

    def returned(self, content: bytes) -> dict[str, str]:
        """The headers for the client; raises _ModelError when the answer is not a good one."""
        assert self._exchange is not None
        status = self._exchange.status
        if len(content) > self.variant.payload:
            most = self.variant.payload
            raise _ModelError(status, f"The answer is larger than {most} bytes.")
        if not _good(self._exchange):
            raise _ModelError(status, content.decode("utf-8", "replace"))
        given = self._exchange.headers
        headers = {name: given[key] for name, key in RETURNED.items() if key in given}
        if not all(VISIBLE.fullmatch(value) for value in headers.values()):
            raise self._no_response()
        if NEW_SESSION in headers:
            self.replica.sessions.add(headers[NEW_SESSION].partition(";")[0])
        if CLOSED_SESSION in headers:
            self.replica.sessions.discard(headers[CLOSED_SESSION])
        return headers | {"x-Amzn-Invoked-Production-Variant": self.variant.plan.name}

    def note(self, content: bytes) -> None:
        """Let the request be captured with its whole answer, a good one."""
        if self.variant.capture is not None and self._exchange is not None:
            answered = self._exchange.headers
            self.variant.capture.note(self.received, self._body, self._headers, content, answered)

    def finish(self, status: int = 0, broken: bool = False) -> None:
        """Count the invocation and let the container go; only the first call does so."""
        token, self._token = self._token, None
        if token is None:
            return
        if self._exchange is not None:
            self._exchange.close()
        self.replica.leave(token)
        ended = time.monotonic()
        before = self._sent - self.received
        count = max(1, len(self.variant.instances))
        self.variant.meter.count(Invocation(status, count, ended - self._sent, before, broken))

    def _no_response(self) -> _ModelError:
        return _ModelError(
            0,
            f"Amazon SageMaker could not get a response from the {self.name} endpoint. This can "
            "occur when CPU or memory utilization is high. To check your utilization, see Amazon "
            "CloudWatch. To fix this problem, use an instance type with more CPU capacity or "
            "memory.",
        )


class _Parts:
    """The events of a streamed answer. The server closes it, also when the client has gone."""

    def __init__(self, call: _Call, exchange: Exchange) -> None:
        self._call, self._exchange, self._ended = call, exchange, False
        self._kept: list[bytes] | None = None if call.variant.capture is None else []

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._ended:
            raise StopIteration
        try:
            piece = self._exchange.piece(PIECE)
        except TimedOut:
            return self._end("ModelInvocationTimeExceeded", "The model took too long to finish.")
        except NoAnswer:
            return self._end("StreamBroken", "The connection to the model was reset or closed.")
        if piece:
            if self._kept is not None:
                self._kept.append(piece)
            return eventstream.event("PayloadPart", piece)
        self._ended = True
        if self._kept is not None:
            self._call.note(b"".join(self._kept))
        self._call.finish(self._exchange.status)
        raise StopIteration

    def close(self) -> None:
        """Let the container go."""
        self._call.finish(self._exchange.status)

    def _end(self, code: str, message: str) -> bytes:
        self._ended = True
        self._call.finish(self._exchange.status, broken=True)
        members = {"Message": message, "ErrorCode": code}
        return eventstream.exception("ModelStreamError", members)


def _good(exchange: Exchange) -> bool:
    return 200 <= exchange.status < 300


def _deployment(context: Context, name: str) -> Deployment:
    endpoint = context.table("endpoint").get(name)
    if endpoint is None or endpoint.data["EndpointStatus"] not in ("InService", "Updating"):
        message = f"Endpoint {name} of account {context.account} not found."
        raise AWSError("ValidationError", message)
    if "AsyncInferenceConfig" in endpoint.data:  # AWS's words are not known
        message = f"Endpoint {name} is an asynchronous endpoint: use InvokeEndpointAsync."
        raise AWSError("ValidationError", message)
    return endpoint.runtime


def _check_target(name: str, deployment: Deployment, model: str | None) -> None:
    """Raise ValidationError for a model that is missing or not wanted.

    Source of the words: aws/amazon-sagemaker-examples#1026,
    aws/sagemaker-tensorflow-serving-container#166 (its beginning).
    """
    if deployment.multi_model and model is None:
        message = f"Request {request_id()} is missing a target model header."
        raise AWSError("ValidationError", message)
    if model is not None and not deployment.multi_model:
        raise AWSError(
            "ValidationError",
            f"Endpoint {name} is not a multi-model endpoint and does not support target model "
            "header.",
        )


def _body(environ: dict[str, Any], limit: int) -> bytes:
    length = environ.get("CONTENT_LENGTH", "")
    if length.isdecimal() and int(length) <= limit:  # nearly always
        body = environ["wsgi.input"].read(int(length))
        if len(body) == int(length):
            return body
    request = Request(environ)
    if (request.content_length or 0) > limit:
        for _ in range(DRAINED // PAYLOAD):
            if not request.stream.read(PAYLOAD):
                break
    elif len(body := request.get_data()) <= limit:
        return body
    raise AWSError("ValidationError", f"HTTP content length exceeded {limit} bytes.", 413)


@functools.cache
def _members(operation: str) -> list[tuple[str, str, Shape]]:
    """Each header of an operation: its member, its name on the wire, the member's shape."""
    shape = protocol.service("sagemaker-runtime").operation_model(operation).input_shape
    return [
        (member, rule.serialization["name"], rule)
        for member, rule in shape.members.items()
        if rule.serialization.get("location") == "header"
    ]


@functools.cache
def _variables(operation: str) -> list[str]:
    """What WSGI calls each of these headers."""
    names = [name.upper().replace("-", "_") for _, name, _ in _members(operation)]
    return [name if name == "CONTENT_TYPE" else f"HTTP_{name}" for name in names]


@functools.lru_cache(maxsize=1024)  # a client sends the same ones again and again
def _checked(
    operation: str, values: tuple[str | None, ...]
) -> tuple[dict[str, str], dict[str, str]]:
    """The headers that pass to the container, and the members they are, checked."""
    passed, members, problems = {}, {}, []
    for (member, name, shape), value in zip(_members(operation), values, strict=True):
        if value is None:
            continue
        place = member[0].lower() + member[1:]
        problems += protocol.violations(shape, value, place)
        if not VISIBLE.fullmatch(value):
            problems.append(f"Value at '{place}' must be at most 1024 visible ASCII characters")
        # to the client the stream's type is a header of SageMaker's, to the container it is not
        passed["Accept" if member == "Accept" else name] = members[member] = value
    if problems:
        plural = "s" if len(problems) > 1 else ""
        message = f"{len(problems)} validation error{plural} detected: {'; '.join(problems)}"
        raise AWSError("ValidationError", message)
    for member in NOT_IMPLEMENTED:
        if member in members:
            raise not_implemented(f"{operation} with {member}")
    passed.setdefault("Content-Type", "application/octet-stream")
    return passed, members
