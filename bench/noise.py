"""Whether a machine is quiet enough for a verdict.

A fixed piece of work on every processor at once, repeated between the measurements, takes the same
time each time if nobody else works there. The closest goal that is judged is a ratio of 1.35; two
medians that are each off by 7% can turn it by 15%. So a spread of 15% is the limit for what is
measured, and 10% for the fixed work, which has no reason of its own to vary.
"""

import os
import statistics
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import psutil

LOOP_LIMIT, REPEAT_LIMIT = 0.10, 0.15
BUSY_LIMIT = 0.10  # of all processors before anything of ours runs, or of one during the run


@dataclass(frozen=True)
class Spread:
    """Repeats of one measurement: their median, and the quartiles and ends around it."""

    median: float
    low: float
    lower: float
    upper: float
    high: float
    repeats: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The figures of at least one value."""
        if len(values) == 1:
            (one,) = values
            return cls(one, one, one, one, one, 1)
        lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, min(values), lower, upper, max(values), len(values))

    @property
    def relative(self) -> float:
        """The distance of the quartiles over the median: how far the repeats lie apart."""
        return (self.upper - self.lower) / self.median if self.median else 0.0


class Noise:
    """What others do on this machine, listened to from the first moment to the last."""

    def __init__(self) -> None:
        self.load = os.getloadavg()[0]
        self.busy = psutil.cpu_percent(interval=1.0) / 100
        self.processors = os.cpu_count() or 1
        self.loops: list[float] = []  # seconds
        self.waits: list[float] = []  # share of the time in which it had no processor
        self.listen()

    def listen(self) -> None:
        """Do the fixed work on every processor; note how long the slowest took."""
        # Its processes must not stay: they would keep files of ours open.
        with ProcessPoolExecutor(self.processors) as pool:
            seconds, waited = max(pool.map(work, range(self.processors)))
        self.loops.append(seconds)
        self.waits.append(waited)

    def record(self) -> dict[str, float]:
        """For the record: load average and busy share at the start, the fixed work's time."""
        spread = Spread.of(self.loops)
        return {
            "load": self.load,
            "busy": self.busy,
            "waits": statistics.median(self.waits),
            "loop": spread.median,
            "spread": spread.relative,
        }

    def reasons(self, repeats: Mapping[str, Spread]) -> list[str]:
        """Why there can be no verdict; none if the machine is quiet enough."""
        busy = max(self.busy, statistics.median(self.waits))
        return reasons(busy, Spread.of(self.loops), repeats)


def reasons(busy: float, loops: Spread, repeats: Mapping[str, Spread]) -> list[str]:
    """Each sentence says what varies, how far, and how far it may; `busy` is a share."""
    found = []
    if busy > BUSY_LIMIT:
        found.append(f"Others keep {busy:.0%} of a processor busy (at most {BUSY_LIMIT:.0%}).")
    if loops.relative > LOOP_LIMIT:
        found.append(
            f"A fixed piece of work varies by {loops.relative:.0%} (at most {LOOP_LIMIT:.0%})."
        )
    return found + [
        f"{name}: repeats vary by {spread.relative:.0%} (at most {REPEAT_LIMIT:.0%})."
        for name, spread in repeats.items()
        if spread.relative > REPEAT_LIMIT
    ]


def work(_: int) -> tuple[float, float]:
    """A fixed piece of work of about 0.1 s: its seconds, and the share that it had to wait."""
    begin, used = time.perf_counter(), time.process_time()
    total = 0
    for i in range(2_000_000):
        total += i & 7
    seconds = time.perf_counter() - begin
    return seconds, 1 - (time.process_time() - used) / seconds
