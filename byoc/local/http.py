"""cheroot's connections, made quick for clients that send one request after the other."""

import io
import re
import select
import socket
from typing import Any

from cheroot.server import HeaderReader, HTTPConnection, HTTPRequest

HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\x00\r\n]*)\r\n")
FRAMING = {
    b"content-length": re.compile(rb"[0-9]{1,18}"),
    b"transfer-encoding": re.compile(rb"[^,]*"),
}
NEXT = 20  # milliseconds in which a thread waits for its connection's next request


class _Received(socket.SocketIO):
    """What comes from a socket, counted."""

    count = 0

    def readinto(self, buffer: Any) -> int | None:
        count = super().readinto(buffer)
        self.count += count or 0
        return count


class _Reader(io.BufferedReader):
    """As cheroot's own, which is written in Python so that it can say whether it `has_data`."""

    def __init__(self, sock: socket.socket) -> None:
        self._received = _Received(sock, "r")
        super().__init__(self._received)
        self.bytes_read = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.bytes_read += len(data)
        return data

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        self.bytes_read += len(line)
        return line

    def has_data(self) -> bool:
        """Whether something has come that was not yet read."""
        return self._received.count > self.bytes_read


class _Writer:
    """What goes to a socket; while `holding` it is kept for the next time."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._held = b""
        self.holding = False
        self.bytes_written = 0

    def write(self, data: bytes) -> int:
        """Send all that is held and `data`; each part of it may take the socket's whole timeout."""
        whole, self._held = self._held + data, b""
        if self.holding:
            self._held = whole
            return len(data)
        rest = memoryview(whole)
        while rest:
            rest = rest[self._socket.send(rest) :]
        self.bytes_written += len(whole)
        return len(data)


class _Headers(HeaderReader):
    """Refuses headers of which two readers would see two different requests.

    Source: RFC 9112, "Message Body Length" and "Field Syntax"; cheroot takes them all.
    """

    # cheroot calls it for each request, with the connection's file and the request's headers.
    def __call__(self, rfile: Any, hdict: dict[bytes, bytes] | None = None) -> dict[bytes, bytes]:
        lengths: list[bytes] = []

        class Checked:
            def readline(self) -> bytes:
                line = rfile.readline()
                match = HEADER.fullmatch(line)
                if line and line != b"\r\n" and match is None:
                    raise ValueError("Illegal header line.")
                name = match[1].lower() if match is not None else b""
                if match is not None and name in FRAMING:
                    lengths.append(name)
                    if len(lengths) > 1 or not FRAMING[name].fullmatch(match[2].strip()):
                        raise ValueError("The length of the body is not clear.")
                return line

        return super().__call__(Checked(), hdict)


class _Request(HTTPRequest):
    """Sends the headers together with the first piece of the body."""

    header_reader = _Headers()

    def send_headers(self) -> None:
        self.conn.wfile.holding = True
        super().send_headers()
        self.conn.wfile.holding = False

    def respond(self) -> None:
        super().respond()
        self.conn.wfile.write(b"")  # an answer without a body


def _file(sock: socket.socket, mode: str = "r", size: int = 0) -> _Reader | _Writer:
    return _Reader(sock) if "r" in mode else _Writer(sock)


class Connection(HTTPConnection):
    """Keeps its thread while requests follow each other, and nobody waits for a thread.

    Between two requests cheroot hands a connection to the thread that watches the idle ones, and
    from there to another thread: that costs as much as a short request itself.
    """

    RequestHandlerClass = _Request

    def __init__(self, server: Any, sock: socket.socket, makefile: Any = None) -> None:
        super().__init__(server, sock, _file)

    def communicate(self) -> bool:
        """Answer requests; whether the connection is to be kept open.

        One that says nothing goes to the idle ones, also when it is new: it would hold a thread.
        """
        kept = True
        while kept and self._asks():
            kept = super().communicate()
            if not self.server.ready or self.server.requests.qsize:
                break
        return kept

    def _asks(self) -> bool:
        if self.rfile.has_data():
            return True
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        return bool(poll.poll(NEXT))
