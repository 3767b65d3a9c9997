"""POST /invocations: what comes back for a good request.

Source: Developer Guide, your-algorithms-inference-code; API InvokeEndpoint.
"""

import re
from collections.abc import Mapping

from byoc.check.clause import Broken, Kind, Level, Unknown, clause
from byoc.check.hosting import PAGE
from byoc.check.http import Reply
from byoc.check.subject import Payload, Subject

GROUP = "Serving: POST /invocations"
MODEL_ERROR = "The caller sees ModelError, HTTP 424, with your status and text inside."
LIMIT = 60.0  # seconds for an answer
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
MOST_ATTRIBUTES = 1024  # visible ASCII characters
PASSED_ON = {  # a request as the platform makes it; the last is one that nobody knows
    "Accept": "*/*",
    "User-Agent": "AHC/2.0",
    ATTRIBUTES: "trace=" + "x" * (MOST_ATTRIBUTES - 6),
    "X-Amzn-SageMaker-Inference-Id": "byoc-check-1",
    "X-Amzn-SageMaker-Target-Variant": "AllTraffic",
    "X-Amzn-SageMaker-Enable-Explanations": "`true`",
    "X-Forwarded-For": "10.0.0.1, 10.0.0.2",
    "X-Amzn-Trace-Id": "Root=1-67891233-abcdef012345678912345678",
    "X-Byoc-Check": "of no meaning",
}
SHORTEST_SIGN = 12  # bytes of a payload by which it is recognised in a log


def invoke(subject: Subject, sent: Payload, headers: Mapping[str, str] | None = None) -> Reply:
    """The payload, with further headers, to the shared server; raises NoAnswer."""
    all_of = {"Content-Type": sent.content_type, **(headers or {})}
    return subject.server.ask("POST", "/invocations", sent.body, all_of)


def request(sent: Payload) -> str:
    """The request as a report names it."""
    return f"POST /invocations, {sent.content_type}, {len(sent.body):,} bytes"


@clause(
    "invoke-payload",
    Kind.SERVING,
    GROUP,
    Level.MUST,
    on_aws=MODEL_ERROR,
    fix="Answer POST /invocations with 200 and the prediction.",
    source=PAGE,
    needs=["serve-in-service"],
)
def payload(subject: Subject) -> str:
    """A good request is answered with 200."""
    _ = subject.payload
    for sent in subject.settings.payloads:
        reply = invoke(subject, sent)
        if reply.status != 200:
            raise Broken(request(sent), reply.told)
    return f"{len(subject.settings.payloads)} sent, the last took {reply.seconds * 1000:.0f} ms"


@clause(
    "invoke-in-time",
    Kind.SERVING,
    GROUP,
    Level.MUST,
    on_aws="ModelError: the request is cut off after 60 s, the caller's own client waits as long.",
    fix="Send less in a request, choose a faster instance, or use an asynchronous endpoint.",
    source=PAGE,
    needs=["invoke-payload"],
)
def in_time(subject: Subject) -> str:
    """A good request is answered within 60 s."""
    slowest = 0.0
    for sent in subject.settings.payloads:
        slowest = max(slowest, invoke(subject, sent).seconds)
        if slowest > LIMIT:
            raise Broken(request(sent), f"an answer after {slowest:.1f} s")
    return f"{slowest:.2f} s"


@clause(
    "invoke-answer",
    Kind.SERVING,
    GROUP,
    Level.SHOULD,
    on_aws="InvokeEndpoint returns nothing, or bytes without a ContentType, and the SDK's "
    "deserializers refuse them.",
    fix="Send a body, and say in Content-Type what it is.",
    source="API InvokeEndpoint",
    needs=["invoke-payload"],
)
def answer(subject: Subject) -> None:
    """The answer to a good request has a body and a Content-Type."""
    for sent in subject.settings.payloads:
        reply = invoke(subject, sent)
        if not reply.body or "/" not in reply.headers.get("content-type", ""):
            raise Broken(request(sent), reply.told)


@clause(
    "invoke-length",
    Kind.SERVING,
    GROUP,
    Level.SHOULD,
    on_aws="Nobody can tell a whole answer from one that broke off; asynchronous endpoints ask for "
    "the Content-Length.",
    fix="Send Content-Length, or Transfer-Encoding: chunked for a stream.",
    source="RFC 9112, section 6.3; deepjavalibrary/djl-serving#2567",
    needs=["invoke-payload"],
)
def length(subject: Subject) -> None:
    """The answer says how long it is: by Content-Length, or in chunks."""
    sent = subject.payload
    reply = invoke(subject, sent)
    if "content-length" not in reply.headers and "transfer-encoding" not in reply.headers:
        raise Broken(request(sent), f"{reply.told}; headers: {', '.join(reply.headers)}")


@clause(
    "invoke-same-answer",
    Kind.SERVING,
    GROUP,
    Level.MAY,
    on_aws="A prediction can't be repeated: what a caller saw can't be explained or tested.",
    fix="Set the random seed for each request, and leave times and ids out of the body.",
    source="API InvokeEndpoint",
    needs=["invoke-payload"],
)
def same_answer(subject: Subject) -> None:
    """The same request gets the same answer."""
    sent = subject.payload
    first, second = invoke(subject, sent), invoke(subject, sent)
    if first.body != second.body:
        raise Broken(f"{request(sent)}, twice", f"first {first.told}; then {second.told}")


@clause(
    "invoke-headers",
    Kind.SERVING,
    GROUP,
    Level.MUST,
    on_aws=MODEL_ERROR,
    fix="Ignore the headers that you do not use.",
    source=f"{PAGE}; API InvokeEndpoint",
    needs=["invoke-payload"],
)
def headers(subject: Subject) -> None:
    """A request is answered with 200 whatever headers the platform adds: X-Amzn-SageMaker-… ones,
    the full 1,024 characters of Custom-Attributes, Accept */*, and unknown ones."""
    sent = subject.payload
    first = invoke(subject, sent, PASSED_ON)
    if first.status == 200:
        return
    for name, value in PASSED_ON.items():
        alone = invoke(subject, sent, {name: value})
        if alone.status != 200:
            raise Broken(f"{request(sent)}, {name}: {value[:40]}", alone.told)
    raise Broken(f"{request(sent)}, with {', '.join(PASSED_ON)}", first.told)


@clause(
    "invoke-attributes",
    Kind.SERVING,
    GROUP,
    Level.SHOULD,
    on_aws="The platform refuses or drops an answer whose header is not what the API allows.",
    fix="Cut what you return in X-Amzn-SageMaker-Custom-Attributes to 1,024 visible ASCII "
    "characters.",
    source="API InvokeEndpoint (CustomAttributes)",
    needs=["invoke-headers"],
)
def attributes(subject: Subject) -> str:
    """What the answer returns in X-Amzn-SageMaker-Custom-Attributes, if anything, has at most 1,024
    visible ASCII characters, also if the caller sent as many."""
    sent = subject.payload
    reply = invoke(subject, sent, {ATTRIBUTES: PASSED_ON[ATTRIBUTES]})
    found = reply.headers.get(ATTRIBUTES.lower(), "")
    if len(found) > MOST_ATTRIBUTES or not re.fullmatch(r"[\x20-\x7e]*", found):
        raise Broken(
            f"{request(sent)}, {ATTRIBUTES} of {MOST_ATTRIBUTES} characters",
            f"{len(found)} characters: {found[:60]!r} … {found[-60:]!r}",
        )
    return f"{len(found)} characters"


@clause(
    "invoke-accept",
    Kind.SERVING,
    GROUP,
    Level.MAY,
    on_aws="ModelError with a 5xx, as if the server were ill: the wish is the caller's to mend.",
    fix="Answer 406, or in the type that you always use.",
    source="RFC 9110, section 15.5.7",
    needs=["invoke-payload"],
)
def accept(subject: Subject) -> str:
    """An Accept header that can't be met is answered with 4xx (406), or with what there is."""
    sent = subject.payload
    reply = invoke(subject, sent, {"Accept": "application/x-byoc-check"})
    if reply.status != 200 and not 400 <= reply.status < 500:
        raise Broken(f"{request(sent)}, Accept: application/x-byoc-check", reply.told)
    return f"HTTP {reply.status}"


@clause(
    "invoke-private",
    Kind.SERVING,
    GROUP,
    Level.MAY,
    on_aws="What callers send stands in CloudWatch, readable by all who may read logs, and stays.",
    fix="Log sizes, counts and times, not the request's body.",
    source="Developer Guide, data-protection",
    needs=["invoke-payload"],
)
def private(subject: Subject) -> None:
    """The payload does not appear in the log."""
    sent = subject.payload
    signs = [line.strip() for line in sent.body.decode("utf-8", "replace").splitlines()]
    sign = max(signs, key=len, default="")[:200]
    if len(sign) < SHORTEST_SIGN:
        raise Unknown("the payload is too short to be recognised in a log: give a longer line")
    server = subject.server
    before = len(server.container.log)
    server.invoke(sent.body, sent.content_type)
    for _ in range(2):  # what is written after the answer comes before the next one
        server.container.ping()
    shown = [line for line in server.container.log[before:] if sign in line]
    if shown:
        raise Broken(request(sent), f"the log: {shown[0][:300]}")
