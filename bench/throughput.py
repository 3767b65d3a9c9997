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
Measured = dict[str, dict[str, Any]]  # format -> rival -> rate, p50, p99 (Spread), errors
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
                url, body = started[rival].address + ask.path, ask.body(row)
                one = load(url, body, ask.content_type, seconds if turn else WARM)
                for what, value in asdict(one).items() if turn else ():
                    found[name, rival][what].append(value)
    measured: Measured = {name: {} for name in FORMATS}
    for (name, rival), series in found.items():
        spreads = {what: Spread.of(series[what]) for what in ("rate", "p50", "p99")}
        kinds = {kind for one in series["errors"] for kind in one}
        errors = {kind: sum(one.get(kind, 0) for one in series["errors"]) for kind in kinds}
        measured[name][rival] = {**spreads, "errors": errors}
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
        yield f"{'':24} {'requests/s':>12} {'spread':>7} {'p50 ms':>8} {'p99 ms':>8}"
        for rival, entry in sorted(entries.items(), key=lambda item: -item[1]["rate"].median):
            median, spread = entry["rate"].median, entry["rate"].relative
            figures = f"{median:12,.0f} {spread:7.0%} "
            figures += f"{entry['p50'].median:8.2f} {entry['p99'].median:8.2f}"
            yield f"{rival:24} " + (f"errors: {entry['errors']}" if entry["errors"] else figures)
