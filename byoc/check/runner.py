"""All clauses on one image, one after the other."""

import fnmatch
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from byoc.check import (
    batch,
    hosting,
    hosting_model,
    image,
    invocations,
    load,
    multi_model,
    ping,
    processing,
    robustness,
    stop,
    training,
    training_data,
    training_end,
)
from byoc.check.clause import CLAUSES, Broken, Clause, Kind, Level, Unknown
from byoc.check.http import NoAnswer
from byoc.check.subject import Settings, Subject
from byoc.engines import Engine, Image
from byoc.errors import ByocError

SERVING = (hosting, hosting_model, ping, invocations, robustness, load, stop)
TRAINING = (training, training_data, training_end)
MODULES = (image, *TRAINING, *SERVING, batch, multi_model, processing)  # imported: fill CLAUSES


class Status(StrEnum):
    """How a clause came out; UNKNOWN: it could not be tried; ERROR: the check itself failed."""

    KEPT = "kept"
    BROKEN = "broken"
    UNKNOWN = "unknown"
    ERROR = "error"


@dataclass(frozen=True)
class Outcome:
    """What came of one clause: what was sent and came back, or why it is not known.

    `note` is a fact about a clause that was kept.
    """

    clause: Clause
    status: Status
    seconds: float
    sent: str = ""
    back: str = ""
    note: str = ""


@dataclass(frozen=True)
class Report:
    """The outcomes, in the order of the clauses."""

    target: str
    engine: str
    outcomes: list[Outcome]
    seconds: float

    def count(self, status: Status, level: Level | None = None) -> int:
        """How many clauses came out so, of one level or of all."""
        return sum(
            o.status is status and (level is None or o.clause.level is level) for o in self.outcomes
        )

    @property
    def exit_code(self) -> int:
        """0: no must is broken; 1: one is; 2: the check itself failed or nothing was tried."""
        if self.count(Status.BROKEN, Level.MUST):
            return 1
        tried = len(self.outcomes) - self.count(Status.UNKNOWN)
        return 2 if self.count(Status.ERROR) or not tried else 0


def select(settings: Settings, only: Sequence[str] = (), skip: Sequence[str] = ()) -> list[Clause]:
    """The clauses of the container's kinds that the patterns let through.

    A pattern (`*` and `?` as in a shell) is for an id, a kind or a level. Raises ByocError for one
    that meets no clause at all.
    """

    def meets(one: Clause, pattern: str) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for name in (one.id, one.kind, one.level))

    for pattern in (*only, *skip):
        if not any(meets(one, pattern) for one in CLAUSES):
            raise ByocError(f"No clause is called {pattern!r}: `byoc check --list` shows them all.")
    kinds, modules = list(Kind), [module.__name__ for module in MODULES]

    def order(one: Clause) -> tuple[int, int]:
        return kinds.index(one.kind), modules.index(one.trial.__module__)

    return [
        one
        for one in sorted(CLAUSES, key=order)
        if one.kind in settings.kinds
        and (not only or any(meets(one, pattern) for pattern in only))
        and not any(meets(one, pattern) for pattern in skip)
    ]


def check(
    engine: Engine,
    image: Image,
    settings: Settings,
    clauses: Sequence[Clause],
    *,
    starting: Callable[[Clause], None] = lambda _: None,
    done: Callable[[Outcome], None] = lambda _: None,
) -> Report:
    """Try the clauses on the image; `starting` and `done` hear of each as it goes.

    What a clause needs is tried before it, even if it was not asked for, and is then not reported.
    """
    began = time.monotonic()
    known: dict[str, Outcome] = {}
    outcomes = []
    with Subject(engine, image, settings) as subject:
        for one in clauses:
            starting(one)
            outcome = _outcome(one, subject, known)
            outcomes.append(outcome)
            done(outcome)
    return Report(image.tag, engine.name, outcomes, time.monotonic() - began)


def _outcome(one: Clause, subject: Subject, known: dict[str, Outcome]) -> Outcome:
    if one.id not in known:
        for name in one.needs:
            needed = next(c for c in CLAUSES if c.id == name)
            if _outcome(needed, subject, known).status is not Status.KEPT:
                known[one.id] = Outcome(one, Status.UNKNOWN, 0.0, back=f"it needs {name}")
                return known[one.id]
        known[one.id] = _try(one, subject)
    return known[one.id]


def _try(one: Clause, subject: Subject) -> Outcome:
    began = time.monotonic()
    status, sent, back, note = Status.KEPT, "", "", ""
    try:
        note = one.trial(subject) or ""
    except Broken as broken:
        status, sent, back = Status.BROKEN, broken.sent, broken.back
    except NoAnswer as silent:
        status, sent, back = Status.BROKEN, silent.sent, f"{silent}"
    except Unknown as unknown:
        status, back = Status.UNKNOWN, f"{unknown}"
    except Exception as error:  # a container can't make the check itself fall over
        status, back = Status.ERROR, f"{type(error).__name__}: {error}"
    return Outcome(one, status, time.monotonic() - began, sent, back, note)
