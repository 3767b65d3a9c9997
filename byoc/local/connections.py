"""HTTP to one container: kept connections, and a limit to the whole exchange."""

import select
import socket
import time
from collections import deque
from collections.abc import Mapping
from urllib.parse import urlsplit

import httptools

CONNECT = 10.0  # seconds; on loopback only a container whose queue is full lets one wait
IDLE = 64  # connections kept for later requests
READ = 256 * 1024  # bytes taken from a socket at a time
BLINK = 0.1  # seconds that a deadline may be missed by
HEAD = 256 * 1024  # bytes of status line and headers at most


class Unreachable(Exception):
    """Nothing listens at the container's port: nothing of the request has been sent."""


class TimedOut(Exception):
    """The exchange took longer than its limit."""


class NoAnswer(Exception):
    """The connection broke, or what came over it is not HTTP."""


class _Lost(NoAnswer):
    """The container closed the connection before the first byte of its answer."""


class _Connection:
    """One connection, which takes one exchange after the other; httptools calls its `on_…`."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), CONNECT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._parser = httptools.HttpResponseParser(self)
        self._timeout = CONNECT
        self._begin()

    def _begin(self) -> None:
        self.status, self.headers = 0, {}  # type: int, dict[str, str]
        self.body = bytearray()  # what has come of it and was not yet taken
        self.complete = self.reusable = False
        self._headed = False

    def ask(self, message: bytes, deadline: float) -> None:
        """Send a request and wait for the answer's headers; raises TimedOut or NoAnswer."""
        self._begin()
        self.deadline = deadline
        try:
            self._limit()
            self._socket.sendall(message)
        except TimeoutError:
            raise TimedOut from None
        except OSError:
            pass  # a container may answer before it has read the whole body
        received = 0
        while not self._headed:
            received += self.receive(lost=received == 0)
            if received > HEAD and not self._headed:
                raise NoAnswer("The headers are too long.")

    def receive(self, lost: bool = False) -> int:
        """Wait for more of the answer; how many bytes came, 0 where its end was the connection's.

        Raises TimedOut or NoAnswer, which is _Lost when `lost`.
        """
        try:
            self._limit()
            data = self._socket.recv(READ)
            if data:
                self._parser.feed_data(data)
        except TimeoutError:
            raise TimedOut from None
        except OSError as error:
            raise (_Lost if lost else NoAnswer)(f"{error}") from None
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self.complete:
                raise NoAnswer(f"{error}") from None
            self.reusable = False  # something follows the answer
        if not data:
            if lost:
                raise _Lost("The container closed the connection.")
            if not self._headed or not {"content-length", "transfer-encoding"}.isdisjoint(
                self.headers
            ):
                raise NoAnswer("The container closed the connection within its answer.")
            self.complete = True
        return len(data)

    def _limit(self) -> None:
        """Let the socket wait until the deadline: that is a system call, so not for a blink."""
        left = max(0.001, self.deadline - time.monotonic())
        if abs(left - self._timeout) > min(left / 10, BLINK):
            self._socket.settimeout(left)
            self._timeout = left

    def dropped(self) -> bool:
        """Whether the other side has closed a kept connection."""
        return bool(self._poll.poll(0))

    def close(self) -> None:
        self._socket.close()

    def on_message_begin(self) -> None:
        if self.complete:
            raise ValueError("more than one answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status >= 200:  # before it, "100 Continue" and the like may come
            self._headed = True
        else:
            self.headers.clear()

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        if self._headed:
            self.complete, self.reusable = True, self._parser.should_keep_alive()


class Exchange:
    """One request's answer while its body is read; close it, whatever happens.

    `headers` are the answer's, by their names in small letters.
    """

    def __init__(self, connections: "Connections", connection: _Connection) -> None:
        self._connections, self._connection = connections, connection
        self.status, self.headers = connection.status, connection.headers

    def read(self, limit: int) -> bytes:
        """The whole body, or more than `limit` bytes of it; raises TimedOut or NoAnswer."""
        connection = self._connection
        while not connection.complete and len(connection.body) <= limit:
            connection.receive()
        return bytes(connection.body)

    def piece(self, size: int) -> bytes:
        """What has come of the body, at least one byte; b"" at its end."""
        connection = self._connection
        while not connection.complete and not connection.body:
            connection.receive()
        content = bytes(connection.body[:size])
        del connection.body[:size]
        return content

    def until(self, deadline: float) -> None:
        """Give the rest of the answer time until `deadline` (monotonic clock)."""
        self._connection.deadline = deadline

    def close(self) -> None:
        """Give the connection back, or end it when its answer has not been read to the end."""
        self._connections.give_back(self._connection)


class Connections:
    """The kept connections to the server at an address, `http://HOST:PORT`; safe for threads."""

    def __init__(self, url: str) -> None:
        place = urlsplit(url)
        self._host, self._port = place.hostname or "", place.port or 80
        self._named = f"Host: {place.netloc}\r\nAccept-Encoding: identity\r\n"
        self._idle: deque[_Connection] = deque()  # its methods are atomic
        self._closed = False

    def send(self, path: str, body: bytes, headers: Mapping[str, str], deadline: float) -> Exchange:
        """POST and wait for the answer's headers until `deadline` (monotonic clock).

        A kept connection that the container closed at that very moment is replaced once by a new
        one. Raises Unreachable, TimedOut or NoAnswer.
        """
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"POST {path} HTTP/1.1\r\n{self._named}Content-Length: {len(body)}\r\n{lines}\r\n"
        message = head.encode("latin-1") + body
        kept = self._take()
        if kept is not None:
            try:
                return self._ask(kept, message, deadline)
            except _Lost:
                pass
        try:
            fresh = _Connection(self._host, self._port)
        except OSError as error:
            raise (Unreachable if kept is None else NoAnswer)(f"{error}") from None
        return self._ask(fresh, message, deadline)

    def give_back(self, connection: _Connection) -> None:
        """Keep a connection whose answer has been read to the end; close any other."""
        if connection.reusable and not self._closed and len(self._idle) < IDLE:
            self._idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        """Close what is kept, and keep nothing from now on."""
        self._closed = True
        while self._idle:
            try:
                self._idle.pop().close()
            except IndexError:  # another thread took it
                break

    def _take(self) -> _Connection | None:
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if not connection.dropped():
                return connection
            connection.close()

    def _ask(self, connection: _Connection, message: bytes, deadline: float) -> Exchange:
        try:
            connection.ask(message, deadline)
        except BaseException:
            connection.close()
            raise
        return Exchange(self, connection)
