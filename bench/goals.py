"""What a measurement is held against, and the record of a bench: its goals, noise and figures."""

import json
import os
import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Goal:
    """One line of the table: our figure, alone or over the other's, and its limit."""

    what: str
    ours: float | None  # None: there is no figure, as something went wrong
    unit: str
    limit: float
    best: Literal["at least", "at most"]
    against: str = ""  # whose figure `other` is
    other: float | None = None

    @property
    def value(self) -> float | None:
        """What is held against the limit: the ratio of the two, or ours where there is no other."""
        if self.ours is None or (self.against and not self.other):
            return None
        return self.ours / self.other if self.other else self.ours

    @property
    def met(self) -> bool:
        if self.value is None:
            return False
        return self.value >= self.limit if self.best == "at least" else self.value <= self.limit

    def verdict(self, noisy: Sequence[str]) -> str:
        """In a word; `noisy` are the reasons why the machine can't tell."""
        if self.value is None:
            return "no figure"
        return "no verdict" if noisy else "met" if self.met else "missed"


def write(path: Path, goals: Iterable[Goal], noisy: Sequence[str], **figures: Any) -> None:
    """Write a bench's record; `report.py` reads its goals and noise, `figures.py` the rest."""
    record = {
        "machine": {"processors": os.cpu_count(), "python": platform.python_version()},
        "noisy": list(noisy),
        "goals": [asdict(goal) for goal in goals],
        **figures,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=2, default=asdict) + "\n")


def conclude(path: Path | None, goals: Sequence[Goal], noisy: Sequence[str], **figures: Any) -> int:
    """Print the goals, write the record, and return the exit code: 1 if not all are met."""
    print()
    lines = table(goals, noisy) if goals else ()
    for line in [*lines, *(f"No verdict: {reason}" for reason in noisy)]:
        print(line, flush=True)
    if path is not None:
        write(path, goals, noisy, **figures)
    return 1 if noisy or not all(goal.met for goal in goals) else 0


def table(goals: Iterable[Goal], noisy: Sequence[str]) -> Iterator[str]:
    """The lines of a table: what, ours, against whom, the value and its limit, the verdict."""
    yield f"{'what':52} {'ours':>10} {'against':>31} {'ratio':>8} {'goal':>8}  verdict"
    for goal in goals:
        other = f"{goal.against} {figure(goal.other)}" if goal.against else "-"
        ratio = figure(goal.value) if goal.against else "-"
        sign = "≥" if goal.best == "at least" else "≤"
        name = f"{goal.what}, {goal.unit}"
        yield (
            f"{name:52} {figure(goal.ours):>10} {other:>31} {ratio:>8} "
            f"{sign + figure(goal.limit):>8}  {goal.verdict(noisy)}"
        )


def figure(value: float | None) -> str:
    """Three digits that count, without an exponent."""
    if value is None:
        return "?"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
