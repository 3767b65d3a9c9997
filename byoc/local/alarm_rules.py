"""When an alarm is in which state, and how AWS says so: arithmetic only.

Source: CloudWatch User Guide, alarm-evaluation and alarms-and-missing-data.
"""

import datetime as dt
import operator
from collections.abc import Sequence
from dataclasses import dataclass

OPERATORS = {
    "GreaterThanThreshold": (operator.gt, "greater than"),
    "GreaterThanOrEqualToThreshold": (operator.ge, "greater than or equal to"),
    "LessThanThreshold": (operator.lt, "less than"),
    "LessThanOrEqualToThreshold": (operator.le, "less than or equal to"),
}
EXTRA = 2  # periods before EvaluationPeriods that are looked at; AWS's own example has two
OK, ALARM, UNKNOWN = "OK", "ALARM", "INSUFFICIENT_DATA"


@dataclass(frozen=True)
class Point:
    """A period: when it began, and its statistic, which is None when there is no data."""

    start: dt.datetime
    value: float | None
    count: float = 0.0


@dataclass(frozen=True)
class Rule:
    """The numbers of an alarm: `needed` of `periods` must breach."""

    comparison: str
    threshold: float
    periods: int
    needed: int
    missing: str  # as TreatMissingData

    def breaches(self, point: Point) -> bool:
        assert point.value is not None
        return bool(OPERATORS[self.comparison][0](point.value, self.threshold))


def state(rule: Rule, points: Sequence[Point]) -> str | None:
    """The state after `points`, the oldest first, periods + EXTRA in number; None keeps it.

    Where AWS's page does not say what follows (few and only breaching points, and missing ones are
    to be left out), the state is kept.
    """
    real = [point for point in points if point.value is not None]
    used = real[-rule.periods :]
    absent = rule.periods - len(used)
    breaching = sum(map(rule.breaches, used)) + (absent if rule.missing == "breaching" else 0)
    if breaching >= rule.needed:
        return ALARM
    if not absent or rule.missing in ("breaching", "notBreaching"):
        return OK
    if not used:
        return UNKNOWN if rule.missing == "missing" else None
    if not all(map(rule.breaches, used)):
        return OK
    if rule.missing == "missing" and len(points) - points.index(used[0]) >= rule.needed:
        return ALARM
    return None


def reason(rule: Rule, points: Sequence[Point], before: str, after: str) -> str:
    """AWS's sentence on a change of state."""
    used = [point for point in points if point.value is not None][-rule.periods :]
    if after == UNKNOWN:
        return f"Insufficient Data: {_count(rule.periods, 'datapoint')} unknown."
    absent = rule.periods - len(used) if rule.missing in ("breaching", "notBreaching") else 0
    treated = "Breaching" if rule.missing == "breaching" else "NonBreaching"
    filled = f"{_count(absent, 'missing datapoint')} treated as [{treated}]"
    if not used:
        periods = f"{absent} period{'s' if absent > 1 else ''}"
        return f"Threshold Crossed: no datapoints were received for {periods} and {filled}."
    alarming = after == ALARM
    hits = [point for point in used if rule.breaches(point) == alarming]
    shown = ", ".join(f"{p.value} ({p.start:%d/%m/%y %H:%M:%S})" for p in reversed(hits))
    need = rule.needed if alarming else rule.periods - rule.needed + 1
    return (
        f"Threshold Crossed: {len(hits)} out of the last {rule.periods} datapoints [{shown}] "
        f"{'was' if len(hits) == 1 else 'were'} {'' if alarming else 'not '}"
        f"{OPERATORS[rule.comparison][1]} the threshold ({rule.threshold})"
        f"{f' and {filled}' if absent else ''} "
        f"(minimum {need} datapoint{'s' if need > 1 else ''} for {before} -> {after} transition)."
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what} was" if number == 1 else f"{number} {what}s were"
