"""What a clause of the contract is, and the list of all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from byoc.check.subject import Subject

Trial = Callable[["Subject"], str | None]


class Level(StrEnum):
    """How bad it is to break a clause: jobs fail, jobs fail sometimes, or a chance is missed."""

    MUST = "must"
    SHOULD = "should"
    MAY = "may"


class Kind(StrEnum):
    """What a container is for; a clause belongs to one kind."""

    IMAGE = "image"
    TRAINING = "training"
    SERVING = "serving"
    BATCH = "batch"
    MULTI_MODEL = "multi-model"
    PROCESSING = "processing"


class Broken(Exception):
    """The container breaks the clause: what it was given, and what came back."""

    def __init__(self, sent: str, back: str) -> None:
        super().__init__(sent, back)
        self.sent, self.back = sent, back


class Unknown(Exception):
    """The clause does not apply, or can't be tried here; the text says why, and what would help."""


@dataclass(frozen=True)
class Clause:
    """One rule: `sentence` is what holds, `on_aws` what its user sees on AWS when it does not.

    `trial` raises Broken or Unknown; its end means that the clause is kept, and what it returns is
    a fact worth a note ("ready after 0.8 s"). `needs` are the ids of clauses without which it makes
    no sense.
    """

    id: str
    kind: Kind
    group: str
    level: Level
    sentence: str
    on_aws: str
    fix: str
    source: str
    needs: tuple[str, ...]
    trial: Trial


CLAUSES: list[Clause] = []


def clause(
    id: str,
    kind: Kind,
    group: str,
    level: Level,
    *,
    on_aws: str,
    fix: str,
    source: str,
    needs: Sequence[str] = (),
) -> Callable[[Trial], Trial]:
    """Add a function to CLAUSES; its docstring is the clause's sentence."""

    def add(trial: Trial) -> Trial:
        sentence = " ".join((trial.__doc__ or "").split())
        if not sentence or any(known.id == id for known in CLAUSES):
            raise ValueError(f"The clause {id!r} needs an id of its own and a sentence.")
        CLAUSES.append(
            Clause(id, kind, group, level, sentence, on_aws, fix, source, tuple(needs), trial)
        )
        return trial

    return add
