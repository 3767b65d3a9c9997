"""Whatever a server does with a request, asking it has an end."""

import socket
import threading
import time
from types import SimpleNamespace

import pytest

from byoc.check import http
from byoc.check.http import NoAnswer, Server


def drops(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:
        connection.sendall(b"x")
        time.sleep(0.1)


def drops_of_a_header(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        connection.sendall(b"x")
        time.sleep(0.1)


def too_short(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc")


def no_http(connection):
    connection.sendall(b"\0\1\2hello\r\n\r\n")


def bad_chunks(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc")


def nothing(connection):
    pass


def silence(connection):
    connection.recv(1)


def early_refusal(connection):
    connection.sendall(b"HTTP/1.1 413 Large\r\nContent-Length: 3\r\n\r\nno!")
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(2**16):
        pass


def endless(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(b"x" * 2**16)


@pytest.fixture
def serving():
    """Start a server that does with its one caller what a function says."""

    def serve(answer):
        listener = socket.create_server(("127.0.0.1", 0))

        def run():
            connection, _ = listener.accept()
            with listener, connection:
                connection.recv(1000)
                try:
                    answer(connection)
                except OSError:
                    pass  # the caller has gone

        threading.Thread(target=run, daemon=True).start()
        return Server(SimpleNamespace(url=f"http://127.0.0.1:{listener.getsockname()[1]}"), 0.0)

    return serve


@pytest.mark.parametrize(
    "answer", [drops, drops_of_a_header, too_short, no_http, bad_chunks, nothing, silence]
)
def test_what_is_no_answer_says_what_was_sent(answer, serving):
    with pytest.raises(NoAnswer, match="no answer after") as caught:
        serving(answer).ask("POST", "/invocations", b"12", timeout=1.0)
    assert caught.value.sent == "POST /invocations, 2 bytes"


def test_a_refusal_that_comes_before_all_is_sent_is_heard(serving):
    reply = serving(early_refusal).ask("POST", "/invocations", b"x" * 10**7, timeout=30.0)
    assert (reply.status, reply.body) == (413, b"no!")


def test_an_endless_answer_is_cut(serving, monkeypatch):
    monkeypatch.setattr(http, "MOST", 10**6)
    assert len(serving(endless).ask("GET", "/ping", timeout=30.0).body) == 10**6
