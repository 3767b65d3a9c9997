"""What a request costs: ours beside what one would otherwise use, in one run.

`python bench/serving.py [--quick] [--json FILE]` builds every server of rivals.py, proves that it
answers rightly, asks all in turns by wrk over 8 connections, then asks the few that the goals name
for what goes to their limits (stress.py). On a noisy machine it prints the figures without a
verdict and exits with 1.
"""

import sys
from collections import defaultdict
from dataclasses import asdict
from typing import Any

import goals
import model
import stress
from arguments import parse
from goals import Goal
from load import load
from noise import Noise, Spread
from rivals import AWS_SAMPLE, CONSTANT, OURS, OURS_FLASK, RIVALS, TUTORIAL, Rival
from servers import Servers, prepared

FORMATS = ("csv", "json")
Measured = dict[str, dict[str, Any]]  # format -> rival -> rate, p50, p99 (Spread), errors


def throughput(servers: Servers, noise: Noise, quick: bool) -> Measured:
    """One row a request, over 8 connections that are kept: A B C A B C ..."""
    row = model.many(1)
    found: dict[tuple[str, str], dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    with servers.all() as started:
        for turn in range(4 if quick else 10):
            noise.listen()
            for rival in servers.rivals:
                for name in FORMATS:
                    ask = getattr(rival, name)
                    if ask is None or rival.name not in started:
                        continue
                    url, seconds = started[rival.name].address + ask.path, 0.3 if quick else 1.0
                    one = load(url, ask.body(row), ask.content_type, seconds if turn else 0.3)
                    if turn:  # the first turn warms up
                        for what, value in asdict(one).items():
                            found[name, rival.name][what].append(value)
    measured: Measured = {name: {} for name in FORMATS}
    for (name, rival_name), series in found.items():
        entry = {what: Spread.of(series[what]) for what in ("rate", "p50", "p99")}
        errors = {kind: count for turn in series["errors"] for kind, count in turn.items()}
        measured[name][rival_name] = {**entry, "errors": errors}
    return measured


def rate(measured: Measured, name: str, rival: Rival, what: str = "rate") -> float | None:
    """A median, or None if the rival did not answer every request."""
    entry = measured[name].get(rival.name)
    return None if entry is None or entry["errors"] else entry[what].median


def throughput_goals(measured: Measured) -> list[Goal]:
    """The first lines of the table of issue 5."""
    csv, p99 = "requests/s, one CSV row", "p99, one CSV row"
    ours, flask = rate(measured, "csv", OURS), rate(measured, "csv", OURS_FLASK)
    aws, constant = rate(measured, "csv", AWS_SAMPLE), rate(measured, "csv", CONSTANT)
    slow = rate(measured, "csv", OURS, "p99"), rate(measured, "csv", AWS_SAMPLE, "p99")
    json = rate(measured, "json", OURS), rate(measured, "json", TUTORIAL)
    work = 1e6 / ours if ours else None, 1e6 / constant if constant else None
    title = AWS_SAMPLE.title
    return [
        Goal(csv, ours, "1/s", 20, "at least", title, aws),
        Goal(f"{csv}, Flask adapter", flask, "1/s", 5, "at least", title, aws),
        Goal(p99, slow[0], "ms", 0.1, "at most", title, slow[1]),
        Goal("requests/s, one JSON row", json[0], "1/s", 15, "at least", TUTORIAL.title, json[1]),
        Goal("time of a request", work[0], "µs", 1.35, "at most", CONSTANT.title, work[1]),
    ]


def lines(measured: Measured) -> Any:
    """What was measured, the fastest first."""
    for name, entries in measured.items():
        yield f"\nOne {name.upper()} row a request, 8 connections, 2 workers"
        yield f"{'':24} {'requests/s':>12} {'spread':>7} {'p50 ms':>8} {'p99 ms':>8}"
        for rival, entry in sorted(entries.items(), key=lambda item: -item[1]["rate"].median):
            median, spread = entry["rate"].median, entry["rate"].relative
            figures = f"{median:12,.0f} {spread:7.0%} "
            figures += f"{entry['p50'].median:8.2f} {entry['p99'].median:8.2f}"
            yield f"{rival:24} " + (f"errors: {entry['errors']}" if entry["errors"] else figures)


def main() -> int:
    arguments = parse(__doc__)
    noise = Noise()
    with prepared(arguments.base, RIVALS) as servers:
        measured = throughput(servers, noise, arguments.quick)
        for line in lines(measured):
            print(line, flush=True)
        limits = stress.measure(servers, noise, arguments.quick)
        for line in stress.lines(limits):
            print(line, flush=True)
    every = throughput_goals(measured) + stress.goals(limits)
    judged = {
        f"{name} of {rival.name}": measured[name][rival.name]["rate"]
        for name in FORMATS
        for rival in (OURS, OURS_FLASK, TUTORIAL, AWS_SAMPLE, CONSTANT)
        if rival.name in measured[name]
    }
    noisy = noise.reasons(judged)
    return goals.conclude(
        arguments.json,
        every,
        noisy,
        titles={rival.name: rival.title for rival in RIVALS},
        failed=servers.failed,
        noise=noise.record(),
        throughput=measured,
        **limits,
    )


if __name__ == "__main__":
    sys.exit(main())
