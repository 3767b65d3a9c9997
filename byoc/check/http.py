"""The server under check, asked as the platform asks it."""

import http.client
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from byoc.check.clause import Broken
from byoc.engines import Container

TIMEOUT = 70.0  # seconds for an answer: what the platform allows, and what is needed to see it late


@dataclass(frozen=True)
class Reply:
    """What came back, `seconds` after the request was sent."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    seconds: float

    @property
    def told(self) -> str:
        """The answer as a report shows it."""
        text = self.body[:200].decode("utf-8", "replace").strip()
        kind = self.headers.get("content-type", "no Content-Type")
        return f"HTTP {self.status}, {kind}, {len(self.body):,} bytes: {text or 'empty'}"


class NoAnswer(Exception):
    """Nothing came back; the text says how it ended."""


class Server:
    """A running `serve`; `started` is how many seconds it took until the first good ping."""

    def __init__(self, container: Container, began: float) -> None:
        self.container, self.began, self.started = container, began, 0.0
        self.host, _, port = container.url.rpartition("/")[2].partition(":")
        self.port = int(port)

    def connect(self, timeout: float = TIMEOUT) -> http.client.HTTPConnection:
        """A connection of its own, kept alive until it is closed."""
        return http.client.HTTPConnection(self.host, self.port, timeout=timeout)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT,
        connection: http.client.HTTPConnection | None = None,
    ) -> Reply:
        """One request, on a connection of its own unless one is given; raises NoAnswer."""
        began = time.monotonic()
        used = connection or self.connect(timeout)
        try:
            used.request(method, path, body, dict(headers or {}))
            answer = used.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            used.close()
            seconds = time.monotonic() - began
            reason = "timed out" if isinstance(error, socket.timeout) else repr(error)
            raise NoAnswer(f"no answer after {seconds:.1f} s: {reason}") from None
        found = {name.lower(): value for name, value in answer.getheaders()}
        reply = Reply(answer.status, found, content, time.monotonic() - began)
        if connection is None:
            used.close()
        return reply

    def invoke(
        self, body: bytes, content_type: str, timeout: float = TIMEOUT, **headers: str
    ) -> Reply:
        """POST /invocations; further headers with `_` for `-`. Raises NoAnswer."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask(
            "POST", "/invocations", body, {"Content-Type": content_type, **named}, timeout
        )

    def not_in_service(self, patience: float) -> Broken:
        """Why it did not come into service, as far as it can be told from outside."""
        code = self.container.poll()
        try:
            last = self.ask("GET", "/ping", timeout=2.0).told
        except NoAnswer as error:
            last = str(error)
        end = "it still runs" if code is None else f"it ended with exit code {code}"
        words = " ⏎ ".join(line for line in self.container.log[-4:] if line.strip())
        waited = min(patience, time.monotonic() - self.began)
        return Broken(
            f"`serve`, then GET /ping on port 8080 for {waited:.0f} s",
            f"never 200; {end}; the last /ping: {last}; its last words: {words[-400:] or 'none'}",
        )
