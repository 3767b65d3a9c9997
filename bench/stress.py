"""What goes to a server's limits: a large body, /ping beside the largest ones, and overload."""

import http.client
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import model
from containers import HTTP, Running
from goals import Goal
from load import load, running
from noise import Noise, Spread
from rivals import AWS_SAMPLE, OURS, OURS_FLASK, TUTORIAL, Ask, Rival
from servers import Servers

ADAPTERS = (OURS, OURS_FLASK)
LARGE_ROWS = 200_000
LARGEST = 25 * 2**20  # bytes that our server takes
PING_EVERY = 0.02  # seconds
PING_PATIENCE = 30.0
FLOOD = 512  # connections
SLICE = 0.5  # seconds of load after which it is looked whether all is as before
OVERLOADED = {"503", "429"}  # what a server may say that has too much to do


def large_body(servers: Servers, noise: Noise, quick: bool) -> dict[str, Any]:
    """200,000 rows of CSV in one request to a fresh container: seconds, and peak memory in bytes.

    Every worker has answered before, so that imports and a model's loading are not in the time.
    """
    rows = model.many(LARGE_ROWS)
    expected = list(model.fit().predict(rows))
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for _ in range(1 if quick else 3):
        noise.listen()
        for rival in (OURS, AWS_SAMPLE) if quick else (OURS, OURS_FLASK, TUTORIAL, AWS_SAMPLE):
            if rival.name in servers.failed or rival.csv is None:
                continue
            ask, body = rival.csv, rival.csv.body(rows)
            with servers.serving(rival) as server:
                server.use(ask.path, ask.body(rows[:1]), ask.content_type)
                with server.peak() as peak:
                    seconds, answer = timed(server, ask, body)
                model.check(answer, expected)
            found[rival.name]["seconds"].append(seconds)
            found[rival.name]["peak"].append(peak.bytes)
    return {name: {k: Spread.of(v) for k, v in series.items()} for name, series in found.items()}


def timed(server: Running, ask: Ask, body: bytes) -> tuple[float, bytes]:
    """Send a body; returns the seconds until the last byte of the answer, and the answer."""
    headers = {"Content-Type": ask.content_type}
    begin = time.perf_counter()
    answer = HTTP.request("POST", server.address + ask.path, body, headers=headers, timeout=120)
    return time.perf_counter() - begin, answer.data if answer.status == 200 else b""


def largest(ask: Ask) -> bytes:
    """As many rows as fit into the largest body."""
    size = len(ask.body(model.many(10_000))) / 10_000
    return ask.body(model.many(int(LARGEST / size * 0.999)))


def pings(servers: Servers, quick: bool) -> dict[str, Any]:
    """/ping while four clients send the largest bodies: the slowest and the failed, of how many."""
    found: dict[str, Any] = defaultdict(dict)
    for rival in (OURS,) if quick else ADAPTERS:
        for name, ask in (("csv", rival.csv), ("json", rival.json)):
            assert ask is not None
            with servers.serving(rival) as server:
                url = server.address + ask.path
                with running(url, largest(ask), ask.content_type, connections=4, patience=300):
                    seconds = ping_often(server, rival, 3.0 if quick else 6.0)
            failed = seconds.count(None)
            taken = [one for one in seconds if one is not None]
            worst = max(taken) if taken else None
            found[rival.name][name] = {"worst": worst, "failed": failed, "pings": len(seconds)}
    return found


def ping_often(server: Running, rival: Rival, seconds: float) -> list[float | None]:
    """A new connection every 20 ms, whether the one before was answered or not: the time until
    each answer, None for one that failed."""
    place = urlsplit(server.address).netloc

    def ask(due: float) -> float | None:
        connection = http.client.HTTPConnection(place, timeout=PING_PATIENCE)
        try:
            connection.request("GET", rival.ping)
            return time.perf_counter() - due if connection.getresponse().status == 200 else None
        except OSError:
            return None
        finally:
            connection.close()

    asked, begin = [], time.perf_counter()
    with ThreadPoolExecutor(256) as pool:
        for number in range(int(seconds / PING_EVERY)):
            due = begin + number * PING_EVERY
            time.sleep(max(0.0, due - time.perf_counter()))
            asked.append(pool.submit(ask, due))
        return [one.result() for one in asked]


def overload(servers: Servers, quick: bool) -> dict[str, Any]:
    """512 connections, then 8 again: what was answered, and the seconds until all is as before.

    As before: at least 80% of the requests a second, at most twice the p99.
    """
    found: dict[str, Any] = {}
    for rival in (OURS,) if quick else ADAPTERS:
        ask = rival.csv
        assert ask is not None
        body = ask.body(model.many(1))
        with servers.serving(rival) as server:
            url = server.address + ask.path
            load(url, body, ask.content_type, SLICE)
            before = load(url, body, ask.content_type, 1.0 if quick else 2.0)
            flood = load(url, body, ask.content_type, 2.0 if quick else 5.0, FLOOD, statuses=True)
            begin, recovered = time.perf_counter(), None
            while recovered is None and time.perf_counter() < begin + 15:
                now = load(url, body, ask.content_type, SLICE)
                if now.rate >= 0.8 * before.rate and now.p99 <= 2 * before.p99 and not now.errors:
                    recovered = time.perf_counter() - begin
        found[rival.name] = {
            "before": before,
            "flood": flood,
            "recovered": recovered,
            "refused": sum(flood.statuses.get(status, 0) for status in OVERLOADED),
            "wrong": sum(n for status, n in flood.statuses.items() if not allowed(status))
            + sum(n for kind, n in flood.errors.items() if kind != "status"),
        }
    return found


def allowed(status: str) -> bool:
    """Whether a server under overload may answer so."""
    return status == "200" or status in OVERLOADED


def measure(servers: Servers, noise: Noise, quick: bool) -> dict[str, Any]:
    """All three."""
    return {
        "large": large_body(servers, noise, quick),
        "pings": pings(servers, quick),
        "overload": overload(servers, quick),
    }


def goals(limits: dict[str, Any]) -> list[Goal]:
    """What is asked of large bodies and of many connections."""

    def both(what: str, scale: float) -> tuple[float | None, float | None]:
        entries = (limits["large"].get(rival.name) for rival in (OURS, AWS_SAMPLE))
        ours, other = (entry[what].median / scale if entry else None for entry in entries)
        return ours, other

    seconds, peak = both("seconds", 1), both("peak", 2**20)
    beside = limits["pings"][OURS.name].values()
    answered = all(one["worst"] is not None and not one["failed"] for one in beside)
    worst = max(one["worst"] for one in beside) if answered else None
    flood, title = limits["overload"][OURS.name], AWS_SAMPLE.title
    return [
        Goal("200,000 rows in a request", seconds[0], "s", 1 / 3, "at most", title, seconds[1]),
        Goal("peak memory of that", peak[0], "MiB", 1 / 2, "at most", title, peak[1]),
        Goal("/ping beside the largest bodies", worst, "s", 0.5, "at most"),
        Goal("512 connections: not 200, 429, 503", flood["wrong"], "requests", 0, "at most"),
        Goal("as before, after 512 connections", flood["recovered"], "s", 2, "at most"),
    ]


def lines(limits: dict[str, Any]) -> Iterator[str]:
    """What was measured."""
    yield "\n200,000 rows of CSV in one request"
    for name, entry in limits["large"].items():
        peak = entry["peak"].median / 2**20
        yield f"{name:24} {entry['seconds'].median:8.3f} s {peak:8.1f} MiB at most"
    yield "\n/ping every 20 ms, while four clients send 25 MB each"
    for name, formats in limits["pings"].items():
        for kind, one in formats.items():
            worst = "none answered" if one["worst"] is None else f"{one['worst']:8.3f} s at worst"
            yield f"{name:12} {kind:11} {worst}, {one['failed']} of {one['pings']} failed"
    yield "\n512 connections, then 8 again"
    for name, one in limits["overload"].items():
        back = "not within 15 s" if one["recovered"] is None else f"after {one['recovered']:.1f} s"
        flood = one["flood"]
        yield (
            f"{name:24} {flood.rate:8,.0f} requests/s, statuses {flood.statuses}, "
            f"errors {flood.errors}; as before {back}"
        )
