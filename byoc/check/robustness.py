"""POST /invocations: what comes back for a bad request, and whether the server survives it."""

import functools
import re
import socket
import time
from dataclasses import dataclass

from byoc.check import bodies
from byoc.check.clause import Broken, Kind, Level, clause
from byoc.check.hosting import PAGE
from byoc.check.http import NoAnswer, Reply, Server
from byoc.check.invocations import invoke
from byoc.check.ping import ping
from byoc.check.subject import Subject

GROUP = "Serving: bad requests"
OTHER_TYPE = "application/x-byoc-check"
PATIENCE = 30.0  # seconds for the answer to a bad request
SERVER_ERROR = (
    "ModelError with a 5xx: alarms on Invocation5XXErrors go off, and a roll-out is rolled back, "
    "for a caller's mistake."
)
TRACE = re.compile(
    r"Traceback \(most recent call last\)|File \"[^\"]+\", line \d+"  # Python
    r"|\bat [\w.$<>]+\([\w.]+(?:\.java|\.scala|\.kt)?:?\d*\)"  # the JVM
    r"|\bat .+ \(?/.+\.[cm]?[jt]s:\d+|goroutine \d+ \[|panicked at|\.rb:\d+:in "
)


@dataclass(frozen=True)
class Attempt:
    """A bad request and its end; `said` is the answer, or why there is none."""

    sent: str
    reply: Reply | None
    said: str
    survived: bool


@functools.lru_cache(maxsize=1)
def _attempts(subject: Subject) -> list[Attempt]:
    """Every kind of bad request once, for all clauses that look at what came of them."""
    sent = subject.payload
    wrong = {"an empty body": b"", **bodies.spoilt(sent)}
    tries = [(f"{sent.content_type}: {name}", sent.content_type, b) for name, b in wrong.items()]
    noise = wrong["random bytes"]
    tries += [(f"{OTHER_TYPE}: random bytes", OTHER_TYPE, noise)]
    tries += [(f"{OTHER_TYPE}: the payload", OTHER_TYPE, sent.body)]
    found = []
    for name, content_type, body in tries:
        server, reply = subject.server, None
        try:
            reply = server.invoke(body, content_type, timeout=PATIENCE)
            said = reply.told
        except NoAnswer as error:
            said = str(error)
        found.append(Attempt(f"POST /invocations, {name}", reply, said, _answers(server)))
    return found


def _answers(server: Server) -> bool:
    """Whether a ping is good, at once or soon: a worker may be starting anew."""
    for _ in range(3):
        if server.container.ping() == 200:
            return True
        time.sleep(0.5)
    return False


def _no_server_error(subject: Subject, *, empty: bool) -> str:
    statuses = set()
    for one in _attempts(subject):
        if OTHER_TYPE in one.sent or empty is not one.sent.endswith("an empty body"):
            continue
        if one.reply is None or one.reply.status >= 500:
            raise Broken(one.sent, one.said)
        statuses.add(one.reply.status)
    return f"HTTP {', '.join(map(str, sorted(statuses)))}"


@clause(
    "invoke-bad-input",
    Kind.SERVING,
    GROUP,
    Level.SHOULD,
    on_aws=SERVER_ERROR,
    fix="Catch what your parser raises, and answer 400 with a sentence on what is wrong.",
    source="API InvokeEndpoint (ModelError)",
    needs=["invoke-payload"],
)
def bad_input(subject: Subject) -> str:
    """A body that can't be read is not answered with 5xx: not random bytes, not a payload cut off
    in the middle, not JSON of 100,000 brackets."""
    return _no_server_error(subject, empty=False)


@clause(
    "invoke-empty-body",
    Kind.SERVING,
    GROUP,
    Level.SHOULD,
    on_aws=SERVER_ERROR,
    fix="Look whether there is a row before you predict, and answer 400.",
    source="API InvokeEndpoint (ModelError)",
    needs=["invoke-payload"],
)
def empty_body(subject: Subject) -> str:
    """An empty body is not answered with 5xx."""
    return _no_server_error(subject, empty=True)


@clause(
    "invoke-content-type",
    Kind.SERVING,
    GROUP,
    Level.SHOULD,
    on_aws="A caller with the wrong serializer (application/octet-stream is the SDK's default) "
    "gets a 5xx, or a prediction of nonsense, and never learns why.",
    fix="Look at Content-Type, and answer 415 for one that you do not know.",
    source="RFC 9110, section 15.5.16; aws/sagemaker-python-sdk, src/sagemaker/base_predictor.py",
    needs=["invoke-payload"],
)
def content_type(subject: Subject) -> str:
    """An unknown Content-Type is answered with 4xx (415), or the body is read as what it is; not
    with 5xx, and not with a prediction for random bytes."""
    noise, good = [one for one in _attempts(subject) if OTHER_TYPE in one.sent]
    for one in (noise, good):
        if one.reply is None or one.reply.status >= 500:
            raise Broken(one.sent, one.said)
    assert noise.reply is not None
    assert good.reply is not None
    if noise.reply.status == 200:
        raise Broken(noise.sent, noise.said)
    if good.reply.status == 200:
        first, second = invoke(subject, subject.payload), invoke(subject, subject.payload)
        if first.body == second.body != good.reply.body:
            raise Broken(good.sent, f"{good.said}; with the right type: {first.told}")
    return f"HTTP {good.reply.status}"


@clause(
    "invoke-no-trace",
    Kind.SERVING,
    GROUP,
    Level.SHOULD,
    on_aws="Callers see file names, versions and pieces of code in OriginalMessage: they help an "
    "attacker, not them.",
    fix="Log the stack trace, and answer with a sentence; switch your framework's debug mode off.",
    source="CWE-209; API InvokeEndpoint (ModelError)",
    needs=["invoke-payload"],
)
def no_trace(subject: Subject) -> None:
    """An error is answered without a stack trace."""
    for one in _attempts(subject):
        text = one.reply.body.decode("utf-8", "replace") if one.reply is not None else ""
        if one.reply is not None and one.reply.status >= 400 and (found := TRACE.search(text)):
            shown = text[max(0, found.start() - 60) : found.end() + 200]
            raise Broken(one.sent, f"HTTP {one.reply.status}: {shown}")


@clause(
    "invoke-survives",
    Kind.SERVING,
    GROUP,
    Level.MUST,
    on_aws="One bad request takes the instance away from all callers until it is replaced.",
    fix="Catch every exception of a request in the handler; never end the process for one.",
    source=PAGE,
    needs=["invoke-payload"],
)
def survives(subject: Subject) -> str:
    """After a bad request /ping is still answered with 200."""
    attempts = _attempts(subject)
    for one in attempts:
        if not one.survived:
            raise Broken(f"{one.sent}; then GET /ping, three times", f"{one.said}; then no 200")
    return f"{len(attempts)} bad requests"


@clause(
    "invoke-cut-off",
    Kind.SERVING,
    GROUP,
    Level.MUST,
    on_aws="Callers hang up all the time; sooner or later every worker waits for one that did, and "
    "the ping health check fails.",
    fix="Stop reading when the connection ends before Content-Length bytes have come.",
    source=PAGE,
    needs=["invoke-payload"],
)
def cut_off(subject: Subject) -> None:
    """After callers who hung up in the middle of their request, the next one is served."""
    server, sent = subject.server, subject.payload
    head = _head(server, sent.content_type, 10 * len(sent.body) + 1000)
    for _ in range(8):
        with socket.create_connection((server.host, server.port), timeout=5) as caller:
            caller.sendall(head + sent.body)
    what = "POST /invocations, 8 times, hung up before the body's end; then "
    if not _answers(server):
        raise Broken(f"{what}GET /ping, three times", "no 200")
    try:
        reply = server.invoke(sent.body, sent.content_type, timeout=PATIENCE)
    except NoAnswer as error:
        raise Broken(f"{what}the payload", str(error)) from None
    if reply.status != 200:
        raise Broken(f"{what}the payload", reply.told)


@clause(
    "invoke-no-http",
    Kind.SERVING,
    GROUP,
    Level.SHOULD,
    on_aws="A port scanner in the VPC, or a client that speaks TLS, takes the server down.",
    fix="Use a web server that has seen the world, such as gunicorn, uvicorn or nginx.",
    source=PAGE,
    needs=["serve-in-service"],
)
def no_http(subject: Subject) -> None:
    """What is not HTTP at all does not disturb the next caller."""
    server = subject.server
    noises = [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64]  # how TLS begins
    noises += [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"POST /invocations HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    ]
    noises += [b"GET /ping HTTP/1.1\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"]
    for noise in noises:
        try:
            with socket.create_connection((server.host, server.port), timeout=0.5) as caller:
                caller.sendall(noise)
                caller.recv(1000)
        except OSError:
            pass  # refused as it should be, or still waiting for more
        if not _answers(server):
            raise Broken(f"{noise[:40]!r} … instead of HTTP; then GET /ping", "no 200")


@clause(
    "invoke-after-refusal",
    Kind.SERVING,
    GROUP,
    Level.SHOULD,
    on_aws="The platform keeps connections: a good request after a bad one fails, of another "
    "caller maybe.",
    fix="Read the whole body before you refuse it, or answer with Connection: close.",
    source="RFC 9112, section 9.3",
    needs=["invoke-payload"],
)
def after_refusal(subject: Subject) -> None:
    """After a refused request the same connection serves the next one, or is closed."""
    server, sent = subject.server, subject.payload
    connection = server.connect(PATIENCE)
    body = bodies.spoilt(sent)["random bytes"] * 20
    try:
        for path in ("/invocations", "/byoc-check"):
            refused = server.ask(
                "POST", path, body, {"Content-Type": OTHER_TYPE}, PATIENCE, connection
            )
            what = f"POST {path}, {OTHER_TYPE}; then, on the same connection, the payload"
            try:
                reply = server.ask(
                    "POST",
                    "/invocations",
                    sent.body,
                    {"Content-Type": sent.content_type},
                    PATIENCE,
                    connection,
                )
            except NoAnswer as error:
                raise Broken(what, f"{refused.told}; then {error}") from None
            if reply.status != 200:
                raise Broken(what, f"{refused.told}; then {reply.told}")
    finally:
        connection.close()


@clause(
    "invoke-unknown-path",
    Kind.SERVING,
    GROUP,
    Level.MAY,
    on_aws="Batch transform asks GET /execution-parameters and takes any 200 for an answer.",
    fix="Answer 404 to every path that you do not serve.",
    source="Developer Guide, your-algorithms-batch-code",
    needs=["serve-in-service"],
)
def unknown_path(subject: Subject) -> str:
    """A path that is not served is answered with 4xx (404)."""
    reply = subject.server.ask("GET", "/byoc-check/no-such-path")
    if not 400 <= reply.status < 500:
        raise Broken("GET /byoc-check/no-such-path", reply.told)
    return f"HTTP {reply.status}"


@clause(
    "ping-slow-callers",
    Kind.SERVING,
    GROUP,
    Level.SHOULD,
    on_aws="A few connections that stall in the network, and the ping health check fails.",
    fix="Use threads, an event loop, or nginx before workers that take one caller at a time.",
    source=PAGE,
    needs=["serve-in-service"],
)
def slow_callers(subject: Subject) -> str:
    """While four callers are slow to send their headers, /ping is answered within 2 s."""
    server, callers, misses = subject.server, [], 0
    try:
        for _ in range(4):
            callers.append(socket.create_connection((server.host, server.port), timeout=5))
            callers[-1].sendall(b"POST /invocations HTTP/1.1\r\nHost: byoc\r\nContent-Ty")
        slowest = 0.0
        for _ in range(5):
            try:
                slowest = max(slowest, ping(server).seconds)
            except NoAnswer as error:
                misses += 1
                if misses > 1:
                    raise Broken(
                        "the first half of a request's headers, 4 times; then GET /ping, twice",
                        str(error),
                    ) from None
    finally:
        for caller in callers:
            caller.close()
    return f"{slowest * 1000:.0f} ms"


def _head(server: Server, content_type: str, size: int) -> bytes:
    return (
        f"POST /invocations HTTP/1.1\r\nHost: {server.host}:{server.port}\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {size}\r\n\r\n"
    ).encode("latin-1", "replace")
