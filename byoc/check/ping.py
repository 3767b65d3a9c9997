"""GET /ping: what the platform asks every few seconds, for the life of the container."""

import time

from byoc.check.clause import Broken, Kind, Level, clause
from byoc.check.hosting import PAGE
from byoc.check.http import LOG_PATIENCE, NoAnswer, Reply, Server
from byoc.check.subject import Subject
from byoc.engines.base import PING_TIMEOUT

GROUP = "Serving: GET /ping"
UNHEALTHY = "The platform takes the container for unhealthy, and replaces it or fails the endpoint."
MANY = 20
SMALL = 2**16  # bytes


def ping(server: Server, method: str = "GET") -> Reply:
    """One ping on a connection of its own; raises NoAnswer after the platform's two seconds."""
    return server.ask(method, "/ping", timeout=PING_TIMEOUT)


@clause(
    "ping-fast",
    Kind.SERVING,
    GROUP,
    Level.MUST,
    on_aws=UNHEALTHY,
    fix="Answer from what is in memory: load the model before, compute nothing in /ping.",
    source=PAGE,
    needs=["serve-in-service"],
)
def fast(subject: Subject) -> str:
    """GET /ping is answered within 2 s, every time."""
    server, slowest = subject.server, 0.0
    for number in range(MANY):
        try:
            slowest = max(slowest, ping(server).seconds)
        except NoAnswer as error:
            raise Broken(f"GET /ping, number {number + 1} of {MANY}", str(error)) from None
    return f"the slowest of {MANY}: {slowest * 1000:.0f} ms"


@clause(
    "ping-steady",
    Kind.SERVING,
    GROUP,
    Level.MUST,
    on_aws=UNHEALTHY,
    fix="Answer 200 as long as the model can predict, whatever happened before.",
    source=PAGE,
    needs=["serve-in-service"],
)
def steady(subject: Subject) -> None:
    """Once in service, every GET /ping is answered with 200, on new connections and on an old
    one."""
    server = subject.server
    old = server.connect()
    try:
        for number in range(MANY):
            connection = old if number % 2 else None
            reply = server.ask("GET", "/ping", timeout=PING_TIMEOUT, connection=connection)
            if reply.status != 200:
                which = "a connection in use" if number % 2 else "a new connection"
                raise Broken(f"GET /ping, number {number + 1} of {MANY}, on {which}", reply.told)
    finally:
        old.close()


@clause(
    "ping-small",
    Kind.SERVING,
    GROUP,
    Level.MAY,
    on_aws="Nothing but traffic: the platform asks for the status and expects an empty body.",
    fix="Answer /ping with an empty body.",
    source=PAGE,
    needs=["serve-in-service"],
)
def small(subject: Subject) -> str:
    """The answer to GET /ping is small, at best empty."""
    reply = ping(subject.server)
    if len(reply.body) > SMALL:
        raise Broken("GET /ping", reply.told)
    return f"{len(reply.body)} bytes"


@clause(
    "ping-post",
    Kind.SERVING,
    GROUP,
    Level.MAY,
    on_aws="Nothing today: the page names POST in one place and GET in another, and GET is used.",
    fix="Let the route /ping take GET and POST.",
    source=PAGE,
    needs=["serve-in-service"],
)
def post(subject: Subject) -> None:
    """POST /ping is answered as GET /ping is."""
    reply = ping(subject.server, "POST")
    if reply.status != 200:
        raise Broken("POST /ping", reply.told)


@clause(
    "ping-quiet",
    Kind.SERVING,
    GROUP,
    Level.SHOULD,
    on_aws="CloudWatch is flooded: a line every few seconds, 17,280 a day and instance at one in "
    "5 s, which hide what matters and are paid for.",
    fix="Leave /ping out of the access log, or log it at the level debug.",
    source="Developer Guide, inference-pipeline-troubleshoot",
    needs=["serve-in-service"],
)
def quiet(subject: Subject) -> None:
    """Pings leave no line in the log."""
    server = subject.server
    ping(server)
    time.sleep(LOG_PATIENCE)
    before = len(server.container.log)
    for _ in range(MANY):
        ping(server)
    time.sleep(LOG_PATIENCE)
    fresh = server.container.log[before:]
    if len(fresh) >= MANY:
        raise Broken(f"GET /ping, {MANY} times", f"{len(fresh)} lines, such as: {fresh[-1][:200]}")
