"""`serve`: /ping and /invocations on port 8080.

Source: Developer Guide, your-algorithms-inference-code.
"""

from byoc.check.clause import Broken, Kind, Level, clause
from byoc.check.subject import Subject

START = "Serving: the start"


@clause(
    "serve-in-service",
    Kind.SERVING,
    START,
    Level.MUST,
    on_aws="The endpoint stays Creating for minutes, then fails: the primary container for "
    "production variant AllTraffic did not pass the ping health check.",
    fix="Let `serve` start a web server on 0.0.0.0:8080 that answers GET /ping with 200.",
    source="Developer Guide, your-algorithms-inference-code",
)
def in_service(subject: Subject) -> None:
    """`docker run IMAGE serve` answers GET /ping on port 8080 with 200."""
    _ = subject.server


@clause(
    "invoke-payload",
    Kind.SERVING,
    "Serving: POST /invocations",
    Level.MUST,
    on_aws="The caller sees ModelError, HTTP 424.",
    fix="Answer POST /invocations with 200 and the prediction.",
    source="Developer Guide, your-algorithms-inference-code",
    needs=["serve-in-service"],
)
def payload(subject: Subject) -> None:
    """A good request is answered with 200."""
    sent = subject.payload
    reply = subject.server.invoke(sent.body, sent.content_type)
    if reply.status != 200:
        raise Broken(f"POST /invocations, {sent.content_type}", reply.told)
