"""One row a request over 8 connections: requests a second and latency, of all servers in turns."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import model
from load import load
from noise import Noise, Spread
from rivals import Rival
from servers import Servers

FORMATS = ("csv", "json")
# format -> rival -> rate, p50, p99, cpu (Spread), start (seconds), memory (bytes), errors
Measured = dict[str, dict[str, Any]]
FIGURES = ("rate", "p50", "p99", "cpu")  # 1/s, ms, ms, µs of processor time a request
WARM = 0.3  # seconds of load in the first turn, which does not count


def measure(servers: Servers, noise: Noise, turns: int, seconds: float) -> Measured:
    """A B C A B C ...: a busy moment hits all alike."""
    row = model.many(1)
    found: dict[tuple[str, str], dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    with servers.all() as started:
        asks = [
            (name, rival.name, ask)
            for rival in servers.rivals
            for name in FORMATS
            if rival.name in started and (ask := getattr(rival, name)) is not None
        ]
        for turn in range(turns + 1):
            noise.listen()
            for name, rival, ask in asks:
                server, length = started[rival], seconds if turn else WARM
                used = server.cpu()
                counted = load(server.address + ask.path, ask.body(row), ask.content_type, length)
                used = (server.cpu() - used) / max(1, counted.requests)
                one = {**asdict(counted), "cpu": used * 1e6}
                for what, value in one.items() if turn else ():
                    found[name, rival][what].append(value)
        idle = {rival: server.memory() for rival, server in started.items()}
    measured: Measured = {name: {} for name in FORMATS}
    for (name, rival), series in found.items():
        spreads = {what: Spread.of(series[what]) for what in FIGURES}
        kinds = {kind for one in series["errors"] for kind in one}
        errors = {kind: sum(one.get(kind, 0) for one in series["errors"]) for kind in kinds}
        at_rest = {"start": started[rival].seconds, "memory": idle[rival]}
        measured[name][rival] = {**spreads, **at_rest, "errors": errors}
    return measured


def rate(measured: Measured, name: str, rival: Rival, what: str = "rate") -> float | None:
    """A median, or None if the rival did not answer every request."""
    entry = measured[name].get(rival.name)
    return None if entry is None or entry["errors"] else entry[what].median


def lines(measured: Measured) -> Iterator[str]:
    """What was measured, the fastest first; of one with errors only these."""
    for name, entries in measured.items():
        if not entries:
            continue
        yield f"\nOne {name.upper()} row a request, 8 connections, 2 workers"
        yield f"{'':24} {'requests/s':>12} {'spread':>7} {'p50 ms':>8} {'p99 ms':>8} {'cpu µs':>7}"
        for rival, entry in sorted(entries.items(), key=lambda item: -item[1]["rate"].median):
            rate, p50, p99, cpu = (entry[what] for what in FIGURES)
            figures = f"{rate.median:12,.0f} {rate.relative:7.0%} {p50.median:8.2f} "
            figures += f"{p99.median:8.2f} {cpu.median:7.0f}"
            yield f"{rival:24} " + (f"errors: {entry['errors']}" if entry["errors"] else figures)
