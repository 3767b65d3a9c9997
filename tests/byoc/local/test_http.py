"""The server's connections: what a client may do with one, and with many."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

from byoc.local.server import THREADS

LIST = (
    b"POST / HTTP/1.1\r\nHost: localhost\r\nX-Amz-Target: SageMaker.ListModels\r\n"
    b"Content-Length: 2\r\n\r\n{}"
)
ABSENT = b"HEAD /no-such-bucket HTTP/1.1\r\nHost: localhost\r\n\r\n"


@contextmanager
def connection(cloud):
    place = urlsplit(cloud.url)
    with socket.create_connection((place.hostname, place.port), timeout=60) as sock:
        yield sock


def answers(sock, count):
    """As many answers as asked for: their bodies, which are JSON objects in one line."""
    received = b""
    while received.count(b'{"Models": []}') < count:
        piece = sock.recv(65536)
        assert piece, received
        received += piece
    return received.count(b"HTTP/1.1 200 OK")


def test_requests_that_come_at_once_are_answered_one_after_the_other(cloud):
    with connection(cloud) as sock:
        sock.sendall(LIST * 5)
        assert answers(sock, 5) == 5


def test_a_request_in_pieces_with_pauses(cloud):
    with connection(cloud) as sock:
        for _ in range(2):
            for place in range(0, len(LIST), 40):
                sock.sendall(LIST[place : place + 40])
                time.sleep(0.03)
            assert answers(sock, 1) == 1


def test_an_answer_without_a_body_is_sent(cloud):
    with connection(cloud) as sock:
        for _ in range(2):
            sock.sendall(ABSENT)
            assert sock.recv(65536).startswith(b"HTTP/1.1 404")


def test_more_clients_than_threads_that_never_pause(cloud):
    clients = THREADS + 40

    def ask(_):
        with connection(cloud) as sock:
            for _ in range(2):
                sock.sendall(LIST)
                answers(sock, 1)

    with ThreadPoolExecutor(clients) as pool:
        assert len(list(pool.map(ask, range(clients)))) == clients


def test_idle_connections_hold_nobody_up(cloud):
    with ExitStack() as idle:
        for _ in range(THREADS + 40):
            idle.enter_context(connection(cloud))
        with connection(cloud) as sock:
            sock.sendall(LIST)
            assert answers(sock, 1) == 1
