"""How `serve` ends: SIGTERM, and SIGKILL 30 seconds later."""

import functools
import http.client
import threading
import time
from dataclasses import dataclass

from byoc.check.clause import Broken, Kind, Level, Unknown, clause
from byoc.check.hosting import PAGE
from byoc.check.load import lasting
from byoc.check.subject import Subject

GROUP = "Serving: the end"
GRACE = 30.0  # seconds
KILLED = 137
LONGEST = 3.0  # seconds that the request under way may take


@dataclass
class End:
    """How a server ended `seconds` after SIGTERM; `answer` is how the request under way did.

    `early`: that request had been answered before SIGTERM came.
    """

    code: int
    seconds: float
    answer: str
    early: bool


@functools.lru_cache(maxsize=1)
def _end(subject: Subject) -> End:
    """SIGTERM while one connection is idle and one waits for the answer to a long request."""
    sent = subject.payload
    body = lasting(subject, LONGEST)
    takes = min(LONGEST, subject.server.invoke(body, sent.content_type).seconds)
    answers: list[tuple[str, float]] = []
    under_way = threading.Event()
    with subject.serve() as server:
        idle = server.connect()
        server.ask("GET", "/ping", connection=idle)
        caller = server.connect()

        def call() -> None:
            try:
                headers = {"Content-Type": sent.content_type}
                caller.request("POST", "/invocations", body, headers)
                under_way.set()
                answer = caller.getresponse()
                answer.read()
                said = f"HTTP {answer.status}"
            except (OSError, http.client.HTTPException) as error:
                said = repr(error)
            answers.append((said, time.monotonic()))
            under_way.set()

        thread = threading.Thread(target=call, daemon=True)
        thread.start()
        under_way.wait(GRACE)
        time.sleep(takes / 4)
        began = time.monotonic()
        code = server.container.stop(GRACE)
        seconds = time.monotonic() - began
        thread.join(5.0)
        idle.close()
        caller.close()
    said, when = answers[0] if answers else ("no answer", began + seconds)
    return End(code, seconds, said, when < began)


@clause(
    "serve-stops",
    Kind.SERVING,
    GROUP,
    Level.SHOULD,
    on_aws="Each update, scale-in and deletion takes 30 s longer and ends in SIGKILL, in the midst "
    "of requests.",
    fix="Handle SIGTERM (as process 1 a program without a handler ignores it), and use the exec "
    "form of ENTRYPOINT: a shell does not pass signals on.",
    source=PAGE,
    needs=["invoke-payload"],
)
def stops(subject: Subject) -> str:
    """SIGTERM ends `serve` within 30 s, though a caller keeps an idle connection open."""
    end = _end(subject)
    if end.seconds >= GRACE or end.code == KILLED:
        raise Broken(
            "SIGTERM, with an idle connection open and a request under way",
            f"it still ran after {end.seconds:.0f} s, and was killed",
        )
    return f"after {end.seconds:.1f} s with exit code {end.code}"


@clause(
    "serve-finishes",
    Kind.SERVING,
    GROUP,
    Level.SHOULD,
    on_aws="With each update and scale-in some callers see an error.",
    fix="After SIGTERM accept nothing new, answer what you have begun, then end.",
    source=PAGE,
    needs=["invoke-payload"],
)
def finishes(subject: Subject) -> str:
    """The request that is under way when SIGTERM comes is answered before `serve` ends."""
    end = _end(subject)
    if end.early:
        raise Unknown("it answers too soon for SIGTERM to come in between; send a larger payload")
    if end.answer != "HTTP 200":
        raise Broken("SIGTERM while POST /invocations waits for its answer", end.answer)
    return f"SIGTERM, {end.answer}, end"
