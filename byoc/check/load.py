"""POST /invocations: many at a time, large ones, and thousands of them."""

import contextlib
import functools
import itertools
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from byoc.check import bodies
from byoc.check.clause import Broken, Kind, Level, Unknown, clause
from byoc.check.hosting import PAGE
from byoc.check.http import MOST, NoAnswer, Reply, Server
from byoc.check.invocations import LIMIT
from byoc.check.subject import Payload, Subject
from byoc.engines.base import PING_TIMEOUT

GROUP = "Serving: load"
PROBE = 400_000  # bytes by which it is seen how long a large request takes
SLOW = 2.0  # seconds after which that is known
TOO_LARGE = 30_000_000  # bytes
MOST_UNDER_WAY = 400_000_000  # bytes of all requests that are under way at once
ACCEPT_LIMIT = 0.25  # seconds
BUSY_FOR = 8.0  # seconds
MISSES = 3  # pings in a row; a single one may be late because of this machine
CONNECTIONS = 64
REQUESTS = 10_000
SECONDS = 8.0  # for each half of the requests, at most
CLIENTS = 32
# a server that sends headers and body apart waits 40 ms for each acknowledgement: many clients
QUICK_ACK = getattr(socket, "TCP_QUICKACK", None)
MEGABYTE = 2**20


def rate(subject: Subject) -> float:
    """Seconds that a large request takes for each byte. Raises Unknown when none can be made."""
    reply, size = _probe(subject)
    if 400 <= reply.status < 500 and reply.status != 413:
        raise Unknown(f"the payload repeated to {size:,} bytes is refused: {reply.told}")
    return reply.seconds / size


@functools.lru_cache(maxsize=1)
def _probe(subject: Subject) -> tuple[Reply, int]:
    """The answer to the payload made larger, step by step, and its size: a model may be slow."""
    sent = subject.payload
    size = len(sent.body)
    while True:
        body = bodies.enlarged(sent, min(size, PROBE))
        reply = subject.server.invoke(body, sent.content_type)
        if reply.status != 200 or reply.seconds > SLOW or size >= PROBE:
            return reply, max(1, len(body))
        size = max(8 * size, 1000)


def lasting(subject: Subject, seconds: float, most: int = bodies.LARGEST) -> bytes:
    """The payload made as large as is answered in that time; as it is where nothing is larger."""
    sent = subject.payload
    try:
        size = int(min(most, seconds / max(rate(subject), 1e-12)))
        return bodies.enlarged(sent, max(size, len(sent.body)))
    except Unknown:
        return sent.body


@clause(
    "invoke-25-mb",
    Kind.SERVING,
    GROUP,
    Level.SHOULD,
    on_aws="413 Request Entity Too Large, inside a ModelError.",
    fix="Raise your server's limit: nginx's client_max_body_size is 1 MB unless it is set, and "
    "5 MB in AWS's sample.",
    source="Developer Guide, deploy-model-options; aws/amazon-sagemaker-examples#2793",
    needs=["invoke-payload"],
)
def largest(subject: Subject) -> str:
    """A request of 25 MB, the most that the platform passes on, is taken: no 413, no 5xx, and no
    connection that breaks."""
    sent = subject.payload
    if (expected := rate(subject) * bodies.LARGEST) > LIMIT / 2:
        raise Unknown(f"25 MB of this payload would take some {expected:.0f} s, too long to try")
    body = bodies.enlarged(sent, bodies.LARGEST)
    reply = subject.server.invoke(body, sent.content_type)
    said = f"POST /invocations, {sent.content_type}, {len(body):,} bytes"
    if reply.status == 413 or reply.status >= 500:
        raise Broken(said, reply.told)
    if len(body) < 0.9 * bodies.LARGEST:
        raise Unknown(
            f"its lines are short: {len(body):,} bytes are taken, more lines are not tried; give a "
            "--payload of longer lines"
        )
    return f"{reply.seconds:.1f} s, HTTP {reply.status}"


@clause(
    "invoke-too-large",
    Kind.SERVING,
    GROUP,
    Level.MAY,
    on_aws="The platform refuses it first; in batch transform, where 100 MB may come, the server "
    "dies.",
    fix="Answer 413 to what is larger than you can hold in memory.",
    source="Developer Guide, your-algorithms-batch-code",
    needs=["invoke-payload"],
)
def too_large(subject: Subject) -> str:
    """A request of more than 25 MB is answered or refused, and the server lives on."""
    sent, server = subject.payload, subject.server
    if rate(subject) * TOO_LARGE > LIMIT / 2:
        raise Unknown("30 MB of this payload would take too long to try")
    body = bodies.enlarged(sent, TOO_LARGE)
    try:
        end = f"HTTP {server.invoke(body, sent.content_type).status}"
    except NoAnswer as error:
        end = str(error)
    for _ in range(3):
        if server.container.ping() == 200:
            return end
        time.sleep(0.5)
    raise Broken(
        f"POST /invocations, {len(body):,} bytes; then GET /ping, three times",
        f"{end}; then no 200",
    )


@dataclass
class Busy:
    """What pings met while all workers were busy, in seconds.

    `misses` are the last ones in a row that were not answered with 200 in 2 s.
    """

    sent: str
    slowest: float = 0.0
    connects: list[float] = field(default_factory=list)
    misses: list[str] = field(default_factory=list)


@functools.lru_cache(maxsize=1)
def _busy(subject: Subject) -> Busy:
    server, sent = subject.server, subject.payload
    count = max(8, 2 * (os.cpu_count() or 1))
    body = lasting(subject, 2.0, min(bodies.LARGEST, MOST_UNDER_WAY // count))
    found = Busy(f"POST /invocations, {len(body):,} bytes, {count} at a time; meanwhile GET /ping")
    deadline = time.monotonic() + BUSY_FOR

    def caller(number: int) -> None:
        while time.monotonic() < deadline and len(found.misses) < MISSES:
            server.invoke(body, sent.content_type)

    with _at_once(caller, count, LIMIT):
        while time.monotonic() < deadline and len(found.misses) < MISSES:
            began = time.monotonic()
            try:
                with contextlib.closing(server.connect(PING_TIMEOUT)) as connection:
                    connection.connect()
                    found.connects.append(time.monotonic() - began)
                    reply = server.ask("GET", "/ping", timeout=PING_TIMEOUT, connection=connection)
                found.slowest = max(found.slowest, reply.seconds)
                if reply.status == 200:
                    found.misses.clear()
                else:
                    found.misses.append(reply.told)
            except OSError as error:
                found.connects.append(time.monotonic() - began)
                found.misses.append(f"no connection: {error!r}")
            except NoAnswer as error:
                found.misses.append(str(error))
            time.sleep(0.05)
        if len(found.misses) == MISSES:
            server.container.stop(0)  # the callers need not wait
    return found


@clause(
    "ping-while-busy",
    Kind.SERVING,
    GROUP,
    Level.MUST,
    on_aws="Under load the container is taken for unhealthy and replaced: the load meets the "
    "others, which fail next.",
    fix="Keep a thread or an event loop free for /ping: with workers that take one request at a "
    "time, all are busy at times. Flask's development server and one synchronous worker are not "
    "enough.",
    source=f"{PAGE}; aws/amazon-sagemaker-examples#3148",
    needs=["invoke-payload"],
)
def while_busy(subject: Subject) -> str:
    """While every worker is busy with a large payload, /ping is answered with 200 within 2 s."""
    found = _busy(subject)
    if len(found.misses) == MISSES:
        raise Broken(found.sent, f"{MISSES} times in a row not within 2 s: {found.misses[-1]}")
    return f"the slowest of {len(found.connects)}: {found.slowest * 1000:.0f} ms"


@clause(
    "serve-accepts",
    Kind.SERVING,
    GROUP,
    Level.SHOULD,
    on_aws="Requests fail before the container sees them.",
    fix="Let the kernel keep callers until a worker is free: listen with a backlog of 128 or more.",
    source=PAGE,
    needs=["invoke-payload"],
)
def accepts(subject: Subject) -> str:
    """A connection is accepted within 250 ms, also while every worker is busy."""
    found = _busy(subject)
    *_, second, slowest = [0.0, 0.0, *sorted(found.connects)]  # one may be this machine's fault
    if second > ACCEPT_LIMIT:
        raise Broken(found.sent, f"connected after {second:.2f} s and {slowest:.2f} s")
    return f"the slowest of {len(found.connects)}: {slowest * 1000:.0f} ms"


@clause(
    "serve-64-connections",
    Kind.SERVING,
    GROUP,
    Level.SHOULD,
    on_aws="Some callers see ModelError or wait until they give up when many come at once.",
    fix="Let callers wait (a backlog of 128 or more) instead of refusing them.",
    source=PAGE,
    needs=["invoke-payload"],
)
def many_connections(subject: Subject) -> str:
    """Of 64 requests at once, each on a connection of its own, all are answered with 200."""
    server, sent = subject.server, subject.payload
    one = server.invoke(sent.body, sent.content_type).seconds
    if one * CONNECTIONS > LIMIT / 2:
        raise Unknown(f"a request takes {one:.1f} s: {CONNECTIONS} at once take too long to try")
    together, failures, seconds = threading.Barrier(CONNECTIONS), [], []

    def caller(number: int) -> None:
        together.wait(LIMIT)
        try:
            reply = server.invoke(sent.body, sent.content_type)
            seconds.append(reply.seconds)
            if reply.status != 200:
                failures.append(reply.told)
        except NoAnswer as error:
            failures.append(str(error))

    with _at_once(caller, CONNECTIONS, 2 * LIMIT):
        pass
    if failures:
        raise Broken(
            f"POST /invocations, {CONNECTIONS} at once",
            f"{len(failures)} not answered with 200: {failures[0]}",
        )
    return f"the last after {max(seconds):.2f} s"


@clause(
    "invoke-keep-alive",
    Kind.SERVING,
    GROUP,
    Level.MAY,
    on_aws="Each request pays for a new connection.",
    fix="Speak HTTP/1.1 and leave the connection open: with gunicorn take threads (gthread), with "
    "Python's http.server set protocol_version.",
    source="RFC 9112, section 9.3",
    needs=["invoke-payload"],
)
def keep_alive(subject: Subject) -> None:
    """A connection is kept open for the next request."""
    server, sent = subject.server, subject.payload
    with contextlib.closing(server.connect()) as connection:
        for _ in range(3):
            reply = server.ask(
                "POST",
                "/invocations",
                sent.body,
                {"Content-Type": sent.content_type},
                connection=connection,
            )
            if connection.sock is None:
                said = reply.headers.get("connection", "nothing, so HTTP/1.0")
                raise Broken("POST /invocations", f"the connection is closed; it said {said}")


@clause(
    "serve-memory",
    Kind.SERVING,
    GROUP,
    Level.SHOULD,
    on_aws="MemoryUtilization climbs for days, then the kernel kills a worker (signal 9).",
    fix="Look for what a request leaves behind: global lists, caches without a limit, open files.",
    source="aws/amazon-sagemaker-examples#3407",
    needs=["invoke-payload"],
)
def memory(subject: Subject) -> str:
    """10,000 requests leave no more memory in use than the first ones."""
    server, sent = subject.server, subject.payload
    _requests(server, sent, REQUESTS // 10, SECONDS / 4)  # every worker has had some
    levels, done = [_memory(server)], 0
    for _ in range(3):
        done += _requests(server, sent, REQUESTS // 2, SECONDS)
        levels.append(_memory(server))
        growths = [b - a for a, b in itertools.pairwise(levels)]
        # a cache fills up and stops, a leak goes on: each part must have grown
        if len(growths) > 1 and not (
            min(growths) > max(4 * MEGABYTE, 0.02 * levels[0])
            and sum(growths) > max(16 * MEGABYTE, 0.05 * levels[0])
        ):
            break
    else:
        shown = ", ".join(f"{level / MEGABYTE:.0f}" for level in levels)
        raise Broken(f"POST /invocations, {done:,} times", f"MiB in use: {shown}")
    return f"{done:,} requests, {(levels[-1] - levels[0]) / MEGABYTE:+.1f} MiB"


def _requests(server: Server, sent: Payload, count: int, seconds: float) -> int:
    """Send the payload so often, or for that time; returns how many were answered with 200."""
    deadline, headers = time.monotonic() + seconds, {"Content-Type": sent.content_type}
    good = []

    def caller(number: int) -> None:
        connection = server.connect(LIMIT)
        for _ in range(-(-count // CLIENTS)):
            if time.monotonic() > deadline:
                break
            try:
                connection.request("POST", "/invocations", sent.body, headers)
                if QUICK_ACK is not None:
                    connection.sock.setsockopt(socket.IPPROTO_TCP, QUICK_ACK, 1)
                answer = connection.getresponse()
                answer.read(MOST)
                good.append(answer.status == 200)
                if not answer.isclosed():
                    connection.close()
            except Exception:  # closed between two requests: a new one is opened
                connection.close()
        connection.close()

    with _at_once(caller, CLIENTS, seconds + LIMIT):
        pass
    if sum(good) < len(good) or not good:
        raise Unknown(f"{len(good) - sum(good)} of {len(good)} requests were not answered with 200")
    return len(good)


def _memory(server: Server) -> int:
    """Bytes in use now: the second sample that is taken from now on is surely of now."""
    for _ in range(2):
        before, deadline = server.container.usage, time.monotonic() + 5.0
        while server.container.usage is before:
            if time.monotonic() > deadline:
                raise Unknown("this engine does not tell how much memory a container uses")
            time.sleep(0.05)
    assert server.container.usage is not None
    return server.container.usage.memory


@contextlib.contextmanager
def _at_once(caller: Callable[[int], None], count: int, patience: float) -> Iterator[None]:
    """So many callers in threads; at the block's end they have `patience` seconds to come back."""

    def quietly(number: int) -> None:
        with contextlib.suppress(NoAnswer, threading.BrokenBarrierError):
            caller(number)

    threads = [
        threading.Thread(target=quietly, args=(number,), daemon=True) for number in range(count)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        deadline = time.monotonic() + patience
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
