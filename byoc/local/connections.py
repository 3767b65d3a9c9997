"""HTTP to one container: kept connections, and a limit to the whole exchange."""

import http.client
import select
import socket
import time
from collections import deque
from collections.abc import Mapping
from urllib.parse import urlsplit

Response = http.client.HTTPResponse

CONNECT = 10.0  # seconds; on loopback only a container whose queue is full lets one wait
IDLE = 64  # connections kept for later requests
LOST = (http.client.RemoteDisconnected, ConnectionError)


class Unreachable(Exception):
    """Nothing listens at the container's port: nothing of the request has been sent."""


class TimedOut(Exception):
    """The exchange took longer than its limit."""


class NoAnswer(Exception):
    """The connection broke, or what came over it is not HTTP."""


class _Socket(socket.socket):
    """A socket whose every read ends at the deadline of the whole exchange."""

    deadline = 0.0

    def recv_into(self, *arguments, **options):  # type: ignore[no-untyped-def]
        self.settimeout(max(0.001, self.deadline - time.monotonic()))
        return super().recv_into(*arguments, **options)


class _Connection(http.client.HTTPConnection):
    sock: _Socket

    def connect(self) -> None:
        self.sock = _Socket()
        self.sock.settimeout(CONNECT)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.connect((self.host, self.port))

    def until(self, deadline: float) -> None:
        self.sock.deadline = deadline
        self.sock.settimeout(max(0.001, deadline - time.monotonic()))

    def dropped(self) -> bool:
        """Whether the other side has closed a kept connection."""
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return bool(poll.poll(0))


class Exchange:
    """One request's answer while its body is read; close it, whatever happens."""

    def __init__(
        self,
        connections: "Connections",
        connection: _Connection,
        sock: _Socket,
        answer: Response,
    ) -> None:
        self._connections, self._connection, self._answer = connections, connection, answer
        self._socket = sock
        self.status, self.headers = answer.status, answer.headers
        self._complete = False

    def read(self, limit: int) -> bytes:
        """The whole body, or `limit` + 1 bytes of it; raises TimedOut or NoAnswer."""
        try:
            content = self._answer.read(limit + 1)
        except TimeoutError:
            raise TimedOut from None
        except (http.client.HTTPException, OSError, ValueError) as error:
            raise NoAnswer(f"{error}") from None
        if len(content) <= limit:
            self._end()
        return content

    def piece(self, size: int) -> bytes:
        """What has come of the body, at least one byte; b"" at its end."""
        try:
            content = self._answer.read1(size)
        except TimeoutError:
            raise TimedOut from None
        except (http.client.HTTPException, OSError, ValueError) as error:
            raise NoAnswer(f"{error}") from None
        if not content:
            self._end()
        return content

    def until(self, deadline: float) -> None:
        """Give the rest of the answer time until `deadline` (monotonic clock)."""
        self._socket.deadline = deadline

    def _end(self) -> None:
        if self._answer.length:
            raise NoAnswer("The container closed the connection within its answer.")
        self._complete = True

    def close(self) -> None:
        """Give the connection back, or end it when its answer has not been read to the end."""
        reusable = self._complete and not self._answer.will_close
        self._answer.close()
        self._connections.give_back(self._connection if reusable else None)
        if not reusable:
            self._connection.close()


class Connections:
    """The kept connections to the server at an address, `http://HOST:PORT`; safe for threads."""

    def __init__(self, url: str) -> None:
        self._place = urlsplit(url)
        self._idle: deque[_Connection] = deque()  # its methods are atomic
        self._closed = False

    def send(self, path: str, body: bytes, headers: Mapping[str, str], deadline: float) -> Exchange:
        """POST and wait for the answer's headers until `deadline` (monotonic clock).

        A kept connection that the container closed at that very moment is replaced once by a new
        one. Raises Unreachable, TimedOut or NoAnswer.
        """
        kept = self._take()
        if kept is not None:
            try:
                return self._ask(kept, path, body, headers, deadline)
            except LOST:
                kept.close()
            except BaseException:
                kept.close()
                raise
        fresh = _Connection(self._place.hostname or "", self._place.port)
        try:
            fresh.connect()
        except OSError as error:
            fresh.close()
            raise (Unreachable if kept is None else NoAnswer)(f"{error}") from None
        try:
            return self._ask(fresh, path, body, headers, deadline)
        except LOST as error:
            fresh.close()
            raise NoAnswer(f"{error}") from None
        except BaseException:
            fresh.close()
            raise

    def give_back(self, connection: _Connection | None) -> None:
        """Keep a connection whose answer has been read to the end."""
        if connection is None:
            return
        if self._closed or len(self._idle) >= IDLE:
            connection.close()
        else:
            self._idle.append(connection)

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

    def _ask(
        self,
        connection: _Connection,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        deadline: float,
    ) -> Exchange:
        connection.until(deadline)
        sock = connection.sock  # an answer that ends the connection takes it away
        try:
            try:
                connection.request("POST", path, body, dict(headers))
            except ConnectionError:
                pass  # a container may answer before it has read the whole body
            answer = connection.getresponse()
        except TimeoutError:
            raise TimedOut from None
        except http.client.RemoteDisconnected:
            raise
        except (http.client.HTTPException, ValueError) as error:
            raise NoAnswer(f"{error}") from None
        return Exchange(self, connection, sock, answer)
