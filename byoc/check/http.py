"""The server under check, asked as the platform asks it."""

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import psutil

from byoc.check.clause import Broken
from byoc.engines import Container

TIMEOUT = 70.0  # seconds for an answer: what the platform allows, and what is needed to see it late
LOG_PATIENCE = 0.3  # seconds in which a line that was written must come
MOST = 32 * 2**20  # bytes of an answer that are read; the platform passes on less


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
    """Nothing came back for what was `sent`; the text says how it ended."""

    def __init__(self, sent: str, text: str) -> None:
        super().__init__(text)
        self.sent = sent


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
        """One request, on a connection of its own unless one is given.

        Raises NoAnswer; whatever the server does, no later than `timeout` seconds from now.
        """
        began = time.monotonic()
        used = connection or self.connect(timeout)
        size = f", {len(body):,} bytes" if isinstance(body, bytes) else ""
        try:
            with _cut_after(used, timeout):
                try:
                    used.request(method, path, body, dict(headers or {}))
                except (BrokenPipeError, ConnectionResetError):
                    pass  # it may have answered before it had read all
                answer = used.getresponse()
                content = answer.read(MOST)
            if len(content) < MOST and answer.length:  # not what Content-Length promised
                raise http.client.IncompleteRead(content, answer.length)
            if time.monotonic() - began >= timeout:
                raise TimeoutError
        except (OSError, ValueError, http.client.HTTPException) as error:
            used.close()
            seconds = time.monotonic() - began
            timed_out = isinstance(error, socket.timeout) or seconds >= timeout
            reason = "timed out" if timed_out else repr(error)[:200]
            raise NoAnswer(
                f"{method} {path}{size}", f"no answer after {seconds:.1f} s: {reason}"
            ) from None
        found = {name.lower(): value for name, value in answer.getheaders()}
        reply = Reply(answer.status, found, content, time.monotonic() - began)
        if connection is None or not answer.isclosed():
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

    @property
    def listening(self) -> str:
        """Where its processes listen, as in "0.0.0.0:8080"; empty when it can't be seen."""
        try:
            first = psutil.Process(self.container.pid)  # type: ignore[attr-defined]
            all_of = [first, *first.children(recursive=True)]
            opened = [c for process in all_of for c in process.net_connections("tcp")]
        except (AttributeError, OSError, ValueError, psutil.Error):
            return ""
        listening = [c.laddr for c in opened if c.status == psutil.CONN_LISTEN]
        return ", ".join(sorted({f"{address.ip}:{address.port}" for address in listening}))

    @property
    def last_words(self) -> str:
        """The end of its log, after what is on its way was read: a crash comes before its words."""
        known = -1
        for _ in range(10):  # one that never falls silent is cut off
            if known == (known := len(self.container.log)):
                break
            time.sleep(LOG_PATIENCE)
        return " ⏎ ".join(line for line in self.container.log[-4:] if line.strip())[-400:]

    def not_in_service(self, patience: float) -> Broken:
        """Why it did not come into service, as far as it can be told from outside."""
        code = self.container.poll()
        try:
            last = self.ask("GET", "/ping", timeout=2.0).told
        except NoAnswer as error:
            last = str(error)
        end = "it still runs" if code is None else f"it ended with exit code {code}"
        end += f" and listens on {found}" if (found := self.listening) else ""
        words = self.last_words
        waited = min(patience, time.monotonic() - self.began)
        return Broken(
            f"`serve`, then GET /ping on port 8080 for {waited:.0f} s",
            f"never 200; {end}; the last /ping: {last}; its last words: {words or 'none'}",
        )


@contextlib.contextmanager
def _cut_after(connection: http.client.HTTPConnection, seconds: float) -> Iterator[None]:
    """Shut the connection down after that time: a socket's own timeout begins anew with every byte
    that arrives, so that an answer in drops would never end."""
    if connection.sock is None:
        connection.connect()
    timer = threading.Timer(seconds, _shut_down, [connection.sock])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _shut_down(connected: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it is closed already
        connected.shutdown(socket.SHUT_RDWR)
