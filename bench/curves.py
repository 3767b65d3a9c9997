"""Where our server's curves bend: workers, threads, connections, rows a request, size of the model.

`python bench/curves.py [--quick] [--json FILE]` measures one point after the other, each shortly;
the Flask adapter beside the other where it goes another way. There is no goal and no verdict.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import goals
import model
from arguments import parse
from containers import Running
from load import load
from noise import Noise
from rivals import CSV, OURS, OURS_FLASK, Rival
from servers import WORKERS, Servers, prepared

Points = list[dict[str, Any]]  # x; rate, p50, p99, memory, bytes (of the request) or errors
Curve = dict[str, Points]  # a line's name -> its points
ADAPTERS = (OURS, OURS_FLASK)
WARM = 0.25  # share of a point's time
LONGEST = 5.0  # seconds for a point of few, large requests


class Curves:
    """All curves of one run."""

    def __init__(self, servers: Servers, noise: Noise, quick: bool) -> None:
        self.servers, self.noise, self.quick = servers, noise, quick
        self.seconds = 0.5 if quick else 1.0

    def choose(self, every: Sequence[int]) -> Sequence[int]:
        """In a quick run the ends only."""
        return [every[0], every[-1]] if self.quick else every

    def point(self, x: float, server: Running, rows: int = 1, connections: int = 8) -> Any:
        """Warm up and measure; where not every request was answered, errors and no figures."""
        url, body = server.address + CSV.path, CSV.body(model.many(rows))
        begin = time.perf_counter()
        server.use(CSV.path, body, CSV.content_type, times=1)
        turn = (time.perf_counter() - begin) * connections  # one request a connection
        load(url, body, CSV.content_type, self.seconds * WARM, connections)
        one = load(url, body, CSV.content_type, max(self.seconds, min(turn, LONGEST)), connections)
        if one.errors or not one.rate:
            return {"x": x, "errors": one.errors or {"unanswered": connections}}
        figures = {"rate": one.rate, "p50": one.p50, "p99": one.p99}
        return {"x": x, **figures, "memory": server.memory(), "bytes": len(body)}

    def fresh(self, every: Sequence[int], rival: Rival, change: Callable[..., Any]) -> Points:
        """A container a point: `change(x)` are the arguments of `Servers.serving`."""
        points = []
        for x in self.choose(every):
            self.noise.listen()
            arguments = change(x)
            with self.servers.serving(arguments.pop("rival", rival), **arguments) as server:
                points.append(self.point(x, server))
        return points

    def workers(self) -> Curve:
        """Processes."""
        every = (1, 2, 3, 4, 6, 8)
        return {r.name: self.fresh(every, r, lambda n: {"workers": n}) for r in ADAPTERS}

    def threads(self) -> Curve:
        """Threads a worker of the Flask adapter; its `serve` has 16."""

        def change(threads: int) -> dict[str, Any]:
            options = ["--bind=0.0.0.0:8080", "--preload", "--worker-class=worker.Threads"]
            options += [f"--workers={WORKERS}", f"--threads={threads}"]
            return {"rival": replace(OURS_FLASK, command=("gunicorn", *options, "app:app"))}

        return {OURS_FLASK.name: self.fresh((1, 2, 4, 8, 16, 32), OURS_FLASK, change)}

    def nodes(self) -> Curve:
        """Nodes of the tree; a balanced tree has an odd number."""
        with tempfile.TemporaryDirectory() as folder:

            def change(nodes: int) -> dict[str, Any]:
                return {"model": model.synthetic(Path(folder) / f"{nodes}", nodes | 1)}

            every = (10, 100, 1_000, 10_000, 100_000, 1_000_000)
            return {OURS.name: self.fresh(every, OURS, change)}

    def connections(self) -> Curve:
        """Connections that are kept, each with a request under way."""
        every = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
        return self.same(every, lambda n, server: self.point(n, server, connections=n))

    def rows(self) -> Curve:
        """Rows of CSV a request."""
        every = (1, 10, 100, 1_000, 10_000, 100_000, 200_000)
        return self.same(every, lambda n, server: self.point(n, server, rows=n))

    def same(self, every: Sequence[int], measure: Callable[[int, Running], Any]) -> Curve:
        """One container an adapter for all points, in turns."""
        curve: Curve = {rival.name: [] for rival in ADAPTERS}
        with ExitStack() as stack:
            started = [(r, stack.enter_context(self.servers.serving(r))) for r in ADAPTERS]
            for x in self.choose(every):
                self.noise.listen()
                for rival, server in started:
                    curve[rival.name].append(measure(x, server))
        return curve

    def measure(self) -> dict[str, Curve]:
        """Every curve."""
        every = (self.workers, self.threads, self.connections, self.rows, self.nodes)
        return {curve.__name__: curve() for curve in every}


def lines(curves: dict[str, Curve]) -> Iterator[str]:
    """A line a point."""
    for name, curve in curves.items():
        yield f"\n{name:24} {'':>9} requests/s   p50 ms   p99 ms     MiB"
        for line, points in curve.items():
            for one in points:
                figures = f"errors: {one.get('errors')}"
                if "errors" not in one:
                    figures = f"{one['rate']:10,.0f} {one['p50']:8.2f} {one['p99']:8.2f}"
                    figures += f" {one['memory'] / 2**20:7.0f}"
                yield f"{line:24} {one['x']:9,.0f} {figures}"


def main() -> int:
    arguments = parse(__doc__)
    noise = Noise()
    with prepared(arguments.base, ADAPTERS) as servers:
        curves = Curves(servers, noise, arguments.quick).measure()
    print(*lines(curves), sep="\n", flush=True)
    titles = {rival.name: rival.title for rival in ADAPTERS}
    return goals.conclude(
        arguments.json, [], noise.reasons({}), noise=noise.record(), titles=titles, curves=curves
    )


if __name__ == "__main__":
    sys.exit(main())
