"""The ladder of chapter 4: from a development server to bare ASGI, one idea a rung.

`python bench/rungs.py [--quick] [--json FILE]` measures each server of bench/ladder: requests a
second, latency, start and memory, and what it costs: lines of code, and megabytes to install.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import requires
from typing import Any

import goals
import throughput
from arguments import parse
from noise import Noise, Spread
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from rivals import CSV, HERE, Rival
from servers import WORKERS, Servers, prepared

FOLDER = HERE / "ladder"
GUNICORN = ("gunicorn", f"--workers={WORKERS}", "--bind=0.0.0.0:8080")


@dataclass(frozen=True)
class Rung:
    """One server of the ladder."""

    title: str
    command: tuple[str, ...]
    files: tuple[str, ...]
    packages: tuple[str, ...]  # what it imports or is started with


RUNGS = (
    Rung(
        "Flask's development server, pandas, scikit-learn",
        ("flask", "--app=flask_pandas", "run", "--host=0.0.0.0", "--port=8080"),
        ("flask_pandas.py",),
        ("flask", "joblib", "pandas", "scikit-learn"),
    ),
    Rung(
        "gunicorn, two workers",
        (*GUNICORN, "flask_pandas:app"),
        ("flask_pandas.py",),
        ("flask", "gunicorn", "joblib", "pandas", "scikit-learn"),
    ),
    Rung(
        "without pandas",
        (*GUNICORN, "flask_numpy:app"),
        ("flask_numpy.py",),
        ("flask", "gunicorn", "joblib", "numpy", "scikit-learn"),
    ),
    Rung(
        "without scikit-learn",
        (*GUNICORN, "flask_tree:app"),
        ("flask_tree.py", "tree.py"),
        ("flask", "gunicorn", "numpy"),
    ),
    Rung(
        "ASGI instead of Flask",
        (*GUNICORN, "--worker-class=uvicorn_worker.UvicornWorker", "asgi_tree:app"),
        ("asgi_tree.py", "tree.py"),
        ("gunicorn", "httptools", "numpy", "uvicorn-worker", "uvloop"),
    ),
)


def rivals() -> list[Rival]:
    """The rungs as servers: one image, a command each, and pandas only where it is used."""

    def server(number: int, rung: Rung) -> Rival:
        hidden = {} if "pandas" in rung.packages else {"PYTHONPATH": ""}
        name, command = f"rung{number}", rung.command
        return Rival(name, rung.title, FOLDER, command, lambda _: hidden, "/ping", CSV, None)

    return [server(number, rung) for number, rung in enumerate(RUNGS, 1)]


def code(rung: Rung) -> int:
    """Lines that are not blank."""
    text = "".join((FOLDER / name).read_text() for name in rung.files)
    return len(re.findall(r"^.*\S", text, re.MULTILINE))


def needed(packages: Iterable[str]) -> set[str]:
    """The packages and all that they require here, by their normalised names."""
    found: set[str] = set()
    waiting: list[str] = [canonicalize_name(name) for name in packages]
    while waiting:
        if (name := waiting.pop()) in found:
            continue
        found.add(name)
        every = map(Requirement, requires(name) or ())
        waiting += [
            canonicalize_name(one.name)
            for one in every
            if one.marker is None or one.marker.evaluate({"extra": ""})
        ]
    return found


def starts(servers: Servers, noise: Noise, turns: int) -> dict[str, list[float]]:
    """Seconds from `docker run` to the first 200, by the rung's name."""
    seconds: dict[str, list[float]] = {rival.name: [] for rival in servers.rivals}
    for _ in range(turns):
        noise.listen()
        for rival in servers.rivals:
            with servers.serving(rival) as server:
                seconds[rival.name].append(server.seconds)
    return seconds


def lines(rungs: dict[str, dict[str, Any]]) -> Iterator[str]:
    """A line a rung."""
    yield f"\n{'':50} requests/s  p99 ms   start   MiB lines   MB"
    for one in rungs.values():
        rate, p99 = one["rate"].median, one["p99"].median
        yield (
            f"{one['title']:50} {rate:10,.0f} {p99:7.2f} {one['start'].median:5.2f} s "
            f"{one['memory'] / 2**20:5.0f} {one['lines']:5} {one['installed'] / 1e6:4.0f}"
        )


def main() -> int:
    arguments = parse(__doc__)
    turns, seconds = (3, 0.3) if arguments.quick else (5, 0.8)
    noise = Noise()
    with prepared(arguments.base, rivals()) as servers:
        measured = throughput.measure(servers, noise, turns, seconds)["csv"]
        started = starts(servers, noise, 0 if arguments.quick else 2)
        engine = servers.containers.engine
        sizes: dict[str, int] = {
            canonicalize_name(name): size
            for name, size in engine.packages(engine.image(rivals()[0].image)).items()
        }
    rungs = {
        rival.name: {
            "title": rung.title,
            "command": " ".join(rung.command),
            "lines": code(rung),
            "installed": sum(sizes[name] for name in needed(rung.packages)),
            **measured[rival.name],
            "start": Spread.of([measured[rival.name]["start"], *started[rival.name]]),
        }
        for rival, rung in zip(rivals(), RUNGS, strict=True)
        if rival.name in measured
    }
    print(*lines(rungs), sep="\n", flush=True)
    noisy = noise.reasons({name: one["rate"] for name, one in rungs.items()})
    return goals.conclude(
        arguments.json, [], noisy, noise=noise.record(), failed=servers.failed, rungs=rungs
    )


if __name__ == "__main__":
    sys.exit(main())
