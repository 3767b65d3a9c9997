"""The WSGI application in front: SageMaker to our handlers, everything else to moto."""

import io
import json
import logging
import re
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

from werkzeug.wrappers import Request, Response

from byoc.local import (  # noqa: F401  (they fill OPERATIONS)
    endpoint_configs,
    endpoints,
    models,
    moto,
    protocol,
    status,
    tags,
    training,
)
from byoc.local.daemon import STATUS
from byoc.local.errors import AWSError, not_implemented
from byoc.local.iam import simulate_principal_policy
from byoc.local.runtime import invoke_endpoint, invoke_endpoint_with_response_stream
from byoc.local.service import OPERATIONS, Context, Platform

log = logging.getLogger(__name__)

# S3 puts a bucket's name in front of the host when it is asked so.
LOOPBACK = re.compile(r"(127\.0\.0\.1|([a-z0-9.-]+\.)?localhost)(:\d+)?")
INVOCATIONS = re.compile(r"/endpoints/([^/]+)/invocations")
STREAMED = re.compile(r"/endpoints/([^/]+)/invocations-response-stream")
RUNTIME = re.compile(r"/endpoints/([^/]+)/(async-invocations)")
CREDENTIAL = re.compile(r"Credential=([^/]+)/\d{8}/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request")
ACTION = "byoc.action"  # key of the WSGI environment
DEFAULT_ACCOUNT, DEFAULT_REGION = "123456789012", "us-east-1"


@dataclass(frozen=True)
class Caller:
    """Who signed a request, for what. Signatures are not checked: this machine is trusted."""

    account: str
    region: str
    service: str | None


class Front:
    """Decides by the request alone who answers it."""

    def __init__(self, platform: Platform, application: Any) -> None:
        self.platform = platform
        self._moto = application

    def __call__(self, environ: dict[str, Any], start_response: Callable) -> Iterable[bytes]:
        request = Request(environ)
        if "Origin" in request.headers or not LOOPBACK.fullmatch(request.host):
            # A web page the user looks at must not reach what can start programs here.
            return Response("The local AWS does not talk to web pages.", 403)(
                environ, start_response
            )
        if request.path == STATUS:
            return Response(
                json.dumps(status.runs(self.platform)), content_type="application/json"
            )(environ, start_response)
        caller = _caller(request)
        environ[ACTION] = action = _action(request)
        target = request.headers.get("X-Amz-Target", "")
        context = Context(self.platform, caller.account, caller.region)
        try:
            if target.startswith("SageMaker."):
                response = self._sagemaker(context, target.removeprefix("SageMaker."), request)
            elif match := INVOCATIONS.fullmatch(request.path):
                response = invoke_endpoint(context, match[1], request)
            elif match := STREAMED.fullmatch(request.path):
                response = invoke_endpoint_with_response_stream(context, match[1], request)
            elif caller.service == "iam" and action == "SimulatePrincipalPolicy":
                response = simulate_principal_policy(context, request.form)
            elif match := RUNTIME.fullmatch(request.path):
                raise not_implemented(f"sagemaker-runtime: {match[2]}")
            else:
                environ["HTTP_X_MOTO_ACCOUNT_ID"] = caller.account
                return self._ask_moto(request, caller, environ, start_response)
        except AWSError as error:
            response = _in_form_of(request, caller, error)
        except Exception:  # a fault of ours: AWS's clients must get an answer they can read
            log.exception("%s %s %s", request.method, request.path, target)
            fault = AWSError("InternalFailure", "The local AWS failed; its log says why.", 500)
            response = _in_form_of(request, caller, fault)
        response.headers["x-amzn-RequestId"] = str(uuid.uuid4())
        return response(environ, start_response)

    def _sagemaker(self, context: Context, name: str, request: Request) -> Response:
        if name not in protocol.service().operation_names:
            raise AWSError("UnknownOperationException", f"SageMaker has no operation {name}.")
        handler = OPERATIONS.get(name)
        if handler is None:
            raise not_implemented(f"SageMaker's {name}")
        answer = handler(context, protocol.parse(name, request.get_data()))
        return Response(
            protocol.render(name, answer), 200, content_type="application/x-amz-json-1.1"
        )

    def _ask_moto(
        self, request: Request, caller: Caller, environ: dict[str, Any], start_response: Callable
    ) -> Iterable[bytes]:
        """moto's answer; where it has none but a web page, our refusal."""
        if not moto.serves(self._moto, environ, caller.service):
            return self._refuse(request, caller, environ, start_response)
        started: list[Any] = []

        def start(status: str, headers: list, info: Any = None) -> Callable:
            started[:] = [status, headers]
            return lambda data: None

        try:
            chunks = self._moto(environ, start)
            status, headers = started
        except Exception:  # moto reached code that it has not written
            log.exception("%s %s", request.method, request.path)
            return self._refuse(request, caller, environ, start_response)
        code = int(status.split()[0])
        if code == 404 or code >= 500:
            body = b"".join(chunks)
            if body[:9].lower() == b"<!doctype" or (code >= 500 and request.method == "HEAD"):
                return self._refuse(request, caller, environ, start_response)
            chunks = [body]
        start_response(status, headers)
        return chunks

    def _refuse(
        self, request: Request, caller: Caller, environ: dict[str, Any], start_response: Callable
    ) -> Iterable[bytes]:
        error = not_implemented(_operation(request, caller))
        return _in_form_of(request, caller, error)(environ, start_response)


FORM, CBOR = "application/x-www-form-urlencoded", "application/cbor"


def _action(request: Request) -> str | None:
    """The Action of a query-protocol request; its body is kept so that moto can read it again."""
    if request.mimetype != FORM:
        return None
    body = request.get_data(cache=True)
    request.environ["wsgi.input"] = io.BytesIO(body)
    found = re.search(rb"(?:^|&)Action=(\w+)", body)
    return found[1].decode() if found else None


def _caller(request: Request) -> Caller:
    signed = request.headers.get("Authorization", "")
    match = CREDENTIAL.search(signed)
    if match is None and "X-Amz-Credential" in request.args:
        match = CREDENTIAL.search(f"Credential={request.args['X-Amz-Credential']}")
    if match is None:
        return Caller(DEFAULT_ACCOUNT, DEFAULT_REGION, None)
    return Caller(moto.account_of(match[1]), match[2], match[3])


def _operation(request: Request, caller: Caller) -> str:
    """What the request asked for, as `service: Operation`."""
    target = request.headers.get("X-Amz-Target", "").rpartition(".")[2]
    if request.mimetype == CBOR:
        target = request.path.rpartition("/")[2]
    name = target or request.environ.get(ACTION) or f"{request.method} {request.path}"
    return f"{caller.service or 'this'}: {name}"


def _in_form_of(request: Request, caller: Caller, error: AWSError) -> Response:
    """The error in the request's protocol: XML for query and S3, CBOR for CloudWatch, else JSON."""
    content = f"<Code>{error.code}</Code><Message>{escape(error.message)}</Message>"
    if request.mimetype == FORM:
        text = f"<ErrorResponse><Error>{content}</Error></ErrorResponse>"
        return Response(text, error.status, content_type="text/xml")
    if caller.service == "s3":
        return Response(f"<Error>{content}</Error>", error.status, content_type="text/xml")
    if request.mimetype == CBOR:
        fields = (_cbor("__type"), _cbor(error.code), _cbor("message"), _cbor(error.message))
        headers = {"smithy-protocol": "rpc-v2-cbor"}
        return Response(b"\xa2" + b"".join(fields), error.status, headers, content_type=CBOR)
    return _as_json(error)


def _cbor(text: str) -> bytes:
    """A CBOR text string (RFC 8949, major type 3, two bytes of length)."""
    content = text.encode()
    return b"\x79" + len(content).to_bytes(2, "big") + content


def _as_json(error: AWSError) -> Response:
    content = {"__type": error.code, "message": error.message, "Message": error.message}
    headers = {"x-amzn-ErrorType": error.code}
    return Response(
        json.dumps(content), error.status, headers, content_type="application/x-amz-json-1.1"
    )
