"""How `serve` ends: SIGTERM, and SIGKILL 30 seconds later."""

import functools
import http.client
import threading
import time
from dataclasses import dataclass

from byoc.check.clause import Broken, Kind, Level, Unknown, clause
from byoc.check.hosting import PAGE
from byoc.check.http import MOST
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
    body, content_type, takes = b"", "", 0.0
    if subject.settings.payloads:
        body, content_type = lasting(subject, LONGEST), subject.payload.content_type
        takes = min(LONGEST, subject.server.invoke(body, content_type).seconds)
    with subject.serve() as server:
        idle, caller = server.connect(), _Caller(server.connect())
        server.ask("GET", "/ping", connection=idle)
        if body:
            caller.send(body, content_type)
            time.sleep(takes / 4)
        began = time.monotonic()
        code = server.container.stop(GRACE)
        seconds = time.monotonic() - began
        caller.finish()
        idle.close()
    return End(code, seconds, caller.said, caller.answered < began)


class _Caller:
    """Waits in a thread for the answer to one request; `said` is how it came out, and when."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self.said, self.answered = "no answer", float("inf")
        self._connection, self._sent = connection, threading.Event()
        self._thread: threading.Thread | None = None

    def send(self, body: bytes, content_type: str) -> None:
        """Returns when all is sent."""
        self._thread = threading.Thread(target=self._call, args=(body, content_type), daemon=True)
        self._thread.start()
        self._sent.wait(GRACE)

    def finish(self) -> None:
        """No answer that comes later counts."""
        if self._thread is not None:
            self._thread.join(5.0)
        self._connection.close()

    def _call(self, body: bytes, content_type: str) -> None:
        try:
            headers = {"Content-Type": content_type}
            self._connection.request("POST", "/invocations", body, headers)
            self._sent.set()
            answer = self._connection.getresponse()
            answer.read(MOST)
            self.said = f"HTTP {answer.status}"
        except (OSError, ValueError, http.client.HTTPException) as error:
            self.said = repr(error)[:200]
        self.answered = time.monotonic()
        self._sent.set()


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
    needs=["serve-in-service"],
)
def stops(subject: Subject) -> str:
    """SIGTERM ends `serve` within 30 s, though a caller keeps an idle connection open."""
    end = _end(subject)
    if end.seconds >= GRACE or end.code == KILLED:
        raise Broken(
            "SIGTERM, with an idle connection open",
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
