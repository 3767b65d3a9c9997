"""What the image costs beside the others: size, cold start and memory, on one base in one run.

`python bench/image.py [--quick] [--json FILE]` builds every image of rivals.py, starts each in
turns, and prints what was measured: ours against its budgets, and the others against ours.
"""

import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import goals
import model
from arguments import parse
from goals import Goal
from noise import Noise, Spread
from rivals import AWS_SAMPLE, CONSTANT, OURS, OURS_FLASK, RIVALS, TUTORIAL, Rival
from servers import Servers, prepared

from byoc.engines.docker import Layer

BUDGETS = {"size": (340, "MB"), "start": (1.2, "s"), "memory": (100, "MiB")}
IDLE = 2.0  # seconds after the last request


@dataclass
class Measured:
    """One image: bytes, seconds to the first 200 of /ping, anonymous bytes when idle."""

    size: int
    layers: list[dict[str, str | int]]  # {"instruction", "size"}, the base first
    packages: dict[str, int]
    starts: list[float] = field(default_factory=list)
    memory: float = 0.0

    @property
    def figures(self) -> dict[str, float]:
        """Size in MB, start in seconds, memory in MiB."""
        start = statistics.median(self.starts)
        return {"size": self.size / 1e6, "start": start, "memory": self.memory / 2**20}


def look(servers: Servers, rival: Rival) -> Measured:
    """What the image is made of."""
    engine = servers.containers.engine
    image = engine.image(rival.image)
    return Measured(image.size, layers(engine.layers(image)), engine.packages(image))


def layers(every: list[Layer]) -> list[dict[str, str | int]]:
    """The layers that have a size, the oldest first; the base may be several."""
    return [
        {"instruction": layer.instruction or "the base", "size": layer.size}
        for layer in every
        if layer.size
    ]


def idle(servers: Servers, rival: Rival) -> float:
    """Bytes of the container's memory once every worker has answered and nothing is asked."""
    ask = rival.csv or rival.json
    assert ask is not None
    with servers.serving(rival) as server:
        server.use(ask.path, ask.body(model.many(1)), ask.content_type)
        time.sleep(IDLE)
        return server.memory()


def budgets(measured: dict[str, Measured]) -> Iterator[str]:
    """A line an image and figure: ours beside its budget, the others in ratio to ours."""
    ours = measured["ours"].figures
    for figure, (budget, unit) in BUDGETS.items():
        verdict = "met" if ours[figure] <= budget else "missed"
        yield f"{figure:8} ours {ours[figure]:18.2f} {unit:4} budget {budget:g} {unit}: {verdict}"
        for name, image in measured.items():
            if name != "ours":
                value = image.figures[figure]
                ratio = value / ours[figure]
                yield f"{figure:8} {name:12} {value:10.2f} {unit:4} {ratio:.2f} x ours"


def image_goals(measured: dict[str, Measured]) -> list[Goal]:
    """What is asked of starting and of memory."""
    ours, aws = measured["ours"].figures, measured["aws_sample"].figures
    title = AWS_SAMPLE.title
    return [
        Goal("start until /ping", ours["start"], "s", 0.45, "at most", title, aws["start"]),
        Goal("memory when idle", ours["memory"], "MiB", 0.5, "at most", title, aws["memory"]),
    ]


def main() -> int:
    arguments = parse(__doc__)
    noise = Noise()
    every = [rival for rival in RIVALS if rival not in (OURS_FLASK, CONSTANT)]
    few = (OURS, TUTORIAL, AWS_SAMPLE)
    with prepared(arguments.base, few if arguments.quick else every) as servers:
        measured = {rival.name: look(servers, rival) for rival in servers.rivals}
        for turn in range(2 if arguments.quick else 7):
            noise.listen()
            for rival in servers.rivals:
                if rival not in few and turn > 0:
                    continue  # theirs is no goal: a rough figure will do
                with servers.serving(rival) as server:
                    measured[rival.name].starts.append(server.seconds)
        for rival in servers.rivals:
            measured[rival.name].memory = idle(servers, rival)
    for line in budgets(measured):
        print(line)
    repeats = {f"start of {r.name}": Spread.of(measured[r.name].starts) for r in few}
    images: dict[str, Any] = {
        name: {**vars(image), "figures": image.figures} for name, image in measured.items()
    }
    return goals.conclude(
        arguments.json,
        image_goals(measured),
        noise.reasons(repeats),
        base=arguments.base,
        load=noise.load,
        noise=noise.record(),
        titles={rival.name: rival.title for rival in every},
        budgets={name: {"limit": limit, "unit": unit} for name, (limit, unit) in BUDGETS.items()},
        failed=servers.failed,
        images=images,
    )


if __name__ == "__main__":
    sys.exit(main())
