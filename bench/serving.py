"""What a request costs: ours beside what one would otherwise use, in one run.

`python bench/serving.py [--quick] [--json FILE]` builds every server of rivals.py, proves that it
answers rightly, asks all in turns by wrk over 8 connections, then takes the few that the goals
name to their limits (stress.py). On a noisy machine it prints the figures without a verdict and
exits with 1.
"""

import sys

import goals
import stress
import throughput
from arguments import parse
from goals import Goal
from noise import Noise
from rivals import AWS_SAMPLE, CONSTANT, OURS, OURS_FLASK, RIVALS, TUTORIAL
from servers import prepared
from throughput import FORMATS, Measured, rate

JUDGED = (OURS, OURS_FLASK, TUTORIAL, AWS_SAMPLE, CONSTANT)  # whom the goals name


def throughput_goals(measured: Measured) -> list[Goal]:
    """What is asked of a request's cost."""
    csv, p99, title = "requests/s, one CSV row", "p99, one CSV row", AWS_SAMPLE.title
    ours, flask = rate(measured, "csv", OURS), rate(measured, "csv", OURS_FLASK)
    aws, constant = rate(measured, "csv", AWS_SAMPLE), rate(measured, "csv", CONSTANT)
    slow = rate(measured, "csv", OURS, "p99"), rate(measured, "csv", AWS_SAMPLE, "p99")
    json = rate(measured, "json", OURS), rate(measured, "json", TUTORIAL)
    work = 1e6 / ours if ours else None, 1e6 / constant if constant else None
    return [
        Goal(csv, ours, "1/s", 20, "at least", title, aws),
        Goal(f"{csv}, Flask adapter", flask, "1/s", 5, "at least", title, aws),
        Goal(p99, slow[0], "ms", 0.1, "at most", title, slow[1]),
        Goal("requests/s, one JSON row", json[0], "1/s", 15, "at least", TUTORIAL.title, json[1]),
        Goal("time of a request", work[0], "µs", 1.35, "at most", CONSTANT.title, work[1]),
    ]


def main() -> int:
    arguments = parse(__doc__)
    turns, seconds = (3, 0.3) if arguments.quick else (6, 0.8)
    noise = Noise()
    with prepared(arguments.base, JUDGED if arguments.quick else RIVALS) as servers:
        measured = throughput.measure(servers, noise, turns, seconds)
        print(*throughput.lines(measured), sep="\n", flush=True)
        limits = stress.measure(servers, noise, arguments.quick)
        print(*stress.lines(limits), sep="\n", flush=True)
    judged = {
        f"{name} of {rival.name}": measured[name][rival.name]["rate"]
        for name in FORMATS
        for rival in JUDGED
        if rival.name in measured[name]
    }
    return goals.conclude(
        arguments.json,
        throughput_goals(measured) + stress.goals(limits),
        noise.reasons(judged),
        titles={rival.name: rival.title for rival in RIVALS},
        failed=servers.failed,
        noise=noise.record(),
        throughput=measured,
        **limits,
    )


if __name__ == "__main__":
    sys.exit(main())
