"""What the image costs beside the usual ones: size, cold start and memory, on one base in one run.

`python bench/image.py [--json FILE]` builds ours, a first tutorial's and AWS's scikit-learn sample
(bench/rivals/), trains a model with each, serves it and prints what was measured, ours against the
budgets and the others against ours. Nothing here decides a test.
"""

import argparse
import csv
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path

import urllib3

from byoc import engines
from byoc.engines.docker import DockerEngine, Layer

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "ours": ROOT / "container",
    "tutorial": ROOT / "bench/rivals/tutorial",
    "aws_sample": ROOT / "bench/rivals/aws_sample",
}
COLUMNS = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g", "species"]
ROW = b"39.1,18.7,181,3750\n"
WORKERS = ("SAGEMAKER_MODEL_SERVER_WORKERS=2", "MODEL_SERVER_WORKERS=2")
UNITS = {"B": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20}


@dataclass
class Measured:
    """One image: bytes, seconds to the first 200 of /ping, bytes resident when idle."""

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


BUDGETS = {"size": (340, "MB"), "start": (1.2, "s"), "memory": (100, "MiB")}


class Bench:
    """The measurements, by the command line of one engine; `ml` holds a folder for each image."""

    def __init__(self, engine: str, base: str, ml: Path) -> None:
        self.engine, self.base, self.ml = engine, base, ml
        self.http = urllib3.PoolManager(retries=False, timeout=2)

    def command(self, *words: str) -> str:
        """Run a command of the engine; its last words are the error when it fails."""
        done = subprocess.run([self.engine, *words], capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{self.engine} {' '.join(words[:2])}: {done.stderr[-2000:]}")
        return done.stdout.strip()

    def build(self, name: str) -> Measured:
        """Build the image, train its model, and look at what the image is made of."""
        tag = f"byoc-bench/{name}:1"
        base = f"--build-arg=BASE={self.base}"
        self.command("build", "--platform=linux/amd64", base, f"--tag={tag}", str(FOLDERS[name]))
        ml = self.ml / name
        for folder in ("input/config", "input/data/training", "model", "output"):
            (ml / folder).mkdir(parents=True)
        write_penguins(ml / "input/data/training/penguins.csv")
        self.command("run", "--rm", f"--volume={ml}:/opt/ml", tag, "train")
        engine = DockerEngine(self.engine)
        image = engine.image(tag)
        return Measured(image.size, layers(engine.layers(image)), engine.packages(image))

    @contextmanager
    def serving(self, name: str) -> Iterator[tuple[str, str, float]]:
        """(container, address, seconds from `docker run` until /ping answered 200)."""
        options = [f"--volume={self.ml / name / 'model'}:/opt/ml/model:ro"]
        options += [f"--env={variable}" for variable in WORKERS]
        begin = time.perf_counter()
        container = self.command(
            "run",
            "--detach",
            "--publish=127.0.0.1::8080",
            *options,
            f"byoc-bench/{name}:1",
            "serve",
        )
        try:
            published = self.command("port", container, "8080").splitlines()[0]
            address = f"http://127.0.0.1:{published.rpartition(':')[2]}"
            while not self.answers(f"{address}/ping"):
                if time.perf_counter() > begin + 60:
                    sys.exit(f"{name} does not answer:\n{self.command('logs', container)}")
                time.sleep(0.005)
            yield container, address, time.perf_counter() - begin
        finally:
            self.command("rm", "--force", container)

    def answers(self, address: str) -> bool:
        try:
            return self.http.request("GET", address).status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def memory(self, name: str) -> float:
        """Bytes of the container's memory once it has answered and is idle."""
        with self.serving(name) as (container, address, _):
            headers = {"Content-Type": "text/csv"}
            for _ in range(20):  # every worker has had its turn
                answer = self.http.request("POST", f"{address}/invocations", ROW, headers=headers)
                assert answer.status == 200, answer.data
            time.sleep(2)
            used = self.command("stats", "--no-stream", "--format={{.MemUsage}}", container)
        number, unit = re.findall(r"([\d.]+)\s*([A-Za-z]+)", used)[0]
        return float(number) * UNITS[unit]


def layers(every: list[Layer]) -> list[dict[str, str | int]]:
    """The layers that have a size, the oldest first; the base may be several."""
    return [
        {"instruction": layer.instruction or "the base", "size": layer.size}
        for layer in every
        if layer.size
    ]


def write_penguins(path: Path) -> None:
    """The complete rows of the penguins: four numbers and the species."""
    source = resources.files("palmerpenguins") / "data/penguins.csv"
    with source.open(encoding="utf-8") as file, path.open("w", newline="") as target:
        table = csv.writer(target)
        table.writerow(COLUMNS)
        rows = [[row[name] for name in COLUMNS] for row in csv.DictReader(file)]
        table.writerows(row for row in rows if not {"", "NA"} & set(row))


def engine() -> str:
    """The first engine that answers."""
    for found in engines.available():
        if found.name != "process":
            return found.name
    sys.exit("No container engine answers: start docker, podman or finch.")


def report(measured: dict[str, Measured]) -> Iterator[str]:
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    base = os.environ.get("BYOC_BASE") or "python:3.12-slim-bookworm"
    parser.add_argument("--base", default=base, help="what all three are built on [%(default)s]")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        bench = Bench(engine(), arguments.base, Path(folder))
        measured = {name: bench.build(name) for name in FOLDERS}
        for _ in range(3 if arguments.quick else 9):  # in turns: a busy moment hits all alike
            for name, image in measured.items():
                with bench.serving(name) as (_, _, seconds):
                    image.starts.append(seconds)
        load = os.getloadavg()[0]
        for name, image in measured.items():
            image.memory = bench.memory(name)
    for line in report(measured):
        print(line)
    print(f"load {load:.1f} on {os.cpu_count()} processors: other work makes every start slower")
    if arguments.json:
        images = {
            name: asdict(image) | {"figures": image.figures} for name, image in measured.items()
        }
        budgets = {name: {"limit": limit, "unit": unit} for name, (limit, unit) in BUDGETS.items()}
        content = {"base": arguments.base, "load": load, "budgets": budgets, "images": images}
        arguments.json.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
