"""One request to the local AWS: who signed it, for which service, which operation it asks for."""

import io
import re
import time
from functools import cached_property
from typing import Any

from werkzeug.wrappers import Request

from byoc.local import moto
from byoc.local.iam import Identity

# S3 puts a bucket's name in front of the host when it is asked so.
LOOPBACK = re.compile(r"(127\.0\.0\.1|([a-z0-9.-]+\.)?localhost)(:\d+)?")
CREDENTIAL = re.compile(r"Credential=([^/]+)/\d{8}/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request")
ACTION = re.compile(rb"(?:^|&)Action=(\w+)")
FORM, CBOR = "application/x-www-form-urlencoded", "application/cbor"
DEFAULT_ACCOUNT, DEFAULT_REGION = "123456789012", "us-east-1"


class Call:
    """What a request is, read once. Signatures are not checked: this machine is trusted."""

    def __init__(self, environ: dict[str, Any]) -> None:
        self.environ = environ
        self.time = time.time()
        match = CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", ""))
        if match is None and "X-Amz-Credential" in environ.get("QUERY_STRING", ""):
            match = CREDENTIAL.search(f"Credential={self.request.args.get('X-Amz-Credential')}")
        self.service: str | None = match[3] if match else None
        region = match[2] if match else DEFAULT_REGION
        account = moto.account_of(match[1]) if match else DEFAULT_ACCOUNT
        self.caller = Identity(account, region, match[1] if match else account)

    @cached_property
    def request(self) -> Request:
        """The request as werkzeug reads it."""
        return Request(self.environ)

    @property
    def method(self) -> str:
        return self.environ["REQUEST_METHOD"]

    @property
    def raw_path(self) -> str:
        """The path as it came, in which a name may hold an encoded slash."""
        return self.environ["RAW_URI"].partition("?")[0]

    @property
    def from_a_web_page(self) -> bool:
        """A page the user looks at must not reach what can start programs here."""
        environ = self.environ
        return "HTTP_ORIGIN" in environ or not LOOPBACK.fullmatch(
            environ.get("HTTP_HOST", "localhost")
        )

    @property
    def body(self) -> bytes:
        """The request's body."""
        return self.read()

    def read(self) -> bytes:
        """Read the body now, and keep it: who comes next can read it again."""
        body = self.request.get_data(cache=True)
        self.environ["wsgi.input"] = io.BytesIO(body)
        return body

    @cached_property
    def target(self) -> tuple[str, str]:
        """What X-Amz-Target says: the service's prefix and the operation."""
        prefix, _, name = self.environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")
        return prefix.rpartition(".")[2], name

    @cached_property
    def operation(self) -> str | None:
        """The operation's name, where the request itself says it: not in the REST protocols."""
        if self.request.mimetype == FORM:
            found = ACTION.search(self.body)
            return found[1].decode() if found else None
        if self.request.mimetype == CBOR:
            return self.request.path.rpartition("/")[2]
        return self.target[1] or None

    @property
    def words(self) -> str:
        """What was asked for, as `service: Operation`."""
        named = self.operation or f"{self.request.method} {self.request.path}"
        return f"{self.service or 'this'}: {named}"
