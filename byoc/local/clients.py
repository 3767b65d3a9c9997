"""The platform's own boto3 clients: they call moto in this process, without a socket.

So the platform's calls are no requests of the user's, and never wait for a thread of the server
that may itself be waiting for them.
"""

import functools
import io
import threading
from collections.abc import Callable, Iterator
from typing import Any

import boto3
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError
from werkzeug.test import EnvironBuilder, run_wsgi_app

from byoc.local import buckets

_LOCK = threading.Lock()
# Given account, region, role, action, resource and condition keys: why the role may not, or "".
RefusesRole = Callable[[str, str, str, str, str, dict[str, str]], str]
REFUSED = "AccessDeniedException"
KEPT = 64  # clients; each takes a megabyte or more
_ADDRESS = "http://127.0.0.1"  # nothing is sent there


class Clients:
    """boto3 clients at a WSGI application, one for each service, account and region."""

    def __init__(self, application: Callable, refuses: RefusesRole) -> None:
        self._application, self._refuses = application, refuses
        self.url = _ADDRESS  # where others reach it, which some answers name
        self._get = functools.lru_cache(maxsize=KEPT)(self._create)

    def get(self, service: str, account: str, region: str, role: str | None = None) -> Any:
        """The client of `service` that acts for the account in the region.

        With a role's ARN it does only what SageMaker may do for the role, which raises ClientError.
        """
        with _LOCK:  # a session is not safe for several threads, its clients are
            return self._get(service, account, region, role)

    def _create(self, service: str, account: str, region: str, role: str | None) -> Any:
        client = _session().client(
            service,
            region_name=region,
            endpoint_url=_ADDRESS,
            aws_access_key_id=account,
            aws_secret_access_key="local",
            config=Config(retries={"total_max_attempts": 1}, proxies={}),
        )
        send = functools.partial(self._send, account)
        client.meta.events.register("before-send", send)
        if role is not None:
            refuses = functools.partial(self._refuses, account, region, role)
            if service == "s3":
                buckets.guard(client, account, role, refuses)
            else:
                _guard(client, account, refuses)
        return client

    def _send(self, account: str, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        """Answer in botocore's place: what `before-send` returns is the response."""
        body = request.body or b""
        if isinstance(body, str):
            body = body.encode()
        builder = EnvironBuilder(
            path=request.url.removeprefix(_ADDRESS),
            base_url=self.url,
            method=request.method,
            headers={name: _text(value) for name, value in request.headers.items()},
            input_stream=io.BytesIO(body) if isinstance(body, bytes | bytearray) else body,
            environ_overrides={"HTTP_X_MOTO_ACCOUNT_ID": account},
        )
        chunks, status, headers = run_wsgi_app(self._application, builder.get_environ())
        code = int(status.split()[0])
        return AWSResponse(request.url, code, dict(headers), _Raw(b"".join(chunks)))


def _guard(client: Any, account: str, refuses: Callable[[str, str, dict[str, str]], str]) -> None:
    """Let a client of logs or metrics do what a role may do."""
    region = client.meta.region_name
    place = f"arn:{client.meta.partition}:logs:{region}:{account}:log-group:"

    def check(params: dict[str, Any], model: Any, **_: Any) -> None:
        service, resource = model.service_model.service_name, "*"
        if "logGroupName" in params:
            stream = params.get("logStreamName", "")
            resource = f"{place}{params['logGroupName']}:log-stream:{stream}"
        known = {"cloudwatch:namespace": params["Namespace"]} if "Namespace" in params else {}
        why = refuses(f"{service}:{model.name}", resource, known)
        if why:
            raise ClientError({"Error": {"Code": REFUSED, "Message": why}}, model.name)

    client.meta.events.register("before-parameter-build", check)


class _Raw(io.BytesIO):
    """A response's body, as botocore reads one from a connection."""

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.read()


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode()


@functools.cache
def _session() -> boto3.session.Session:
    """One for all clients: it reads the model of each service once."""
    return boto3.session.Session()
