"""What `train` costs beside AWS's scikit-learn sample: seconds outside `fit`, and peak memory.

`python bench/training.py [--quick] [--json FILE]` makes CSV files like the penguins' (seeded), lets
both programs train on them in turns, and prints for each size what was measured, in ratio to the
sample's, and by million rows. Both run in the images of bench/image.py, with a tree of depth 4: how
long scikit-learn takes is not the matter. Without an engine both run here, in this environment.

Memory is anonymous memory (what the program itself holds, without the pages of the files it read,
which the kernel may drop at any time and which a cgroup's own peak counts too): the greatest of
RssAnon of /proc, looked at every 5 ms by a thread in the process. Nothing here decides a test.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
PROGRAMS = {"ours": ROOT / "container", "aws_sample": ROOT / "bench/image/aws_sample"}
HEADER = "bill_length_mm,bill_depth_mm,flipper_length_mm,body_mass_g,species\n"
SPECIES = ["Adelie", "Chinstrap", "Gentoo"]
MEANS = np.array([[38.8, 18.3, 190, 3706], [48.8, 18.4, 196, 3733], [47.6, 15.0, 217, 5092]])
SPREADS = np.array([[2.7, 1.2, 6.5, 459], [3.3, 1.1, 7.1, 384], [3.1, 1.0, 6.6, 501]])
GOALS = {"outside": 0.6, "memory": 0.5}  # of the sample's

# What both programs run in: it times `fit`, caps the tree's depth, and watches the memory.
WRAPPER = """
import json, runpy, sys, threading, time
begun, peak, fits = time.perf_counter(), 0, []

def watch():
    global peak
    while True:
        with open("/proc/self/status") as status:
            held = next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))
        peak = max(peak, held)
        time.sleep(0.005)

threading.Thread(target=watch, daemon=True).start()

class Patch:
    def find_spec(self, name, path=None, target=None):
        if name == "sklearn.tree":
            sys.meta_path.remove(self)
            import sklearn.tree
            tree = sklearn.tree.DecisionTreeClassifier
            fit = tree.fit
            def timed(self, *arguments, **options):
                before = time.perf_counter()
                try:
                    return fit(self.set_params(max_depth=4), *arguments, **options)
                finally:
                    fits.append(time.perf_counter() - before)
            tree.fit = timed

sys.meta_path.insert(0, Patch())
sys.path.insert(0, sys.argv[1].rpartition("/")[0])
try:
    runpy.run_path(sys.argv[1], run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
seconds = time.perf_counter() - begun
result = {"seconds": seconds, "fit": sum(fits), "memory": peak * 1024}
print("MEASURED", json.dumps(result), flush=True)
"""


def write_rows(path: Path, rows: int) -> None:
    """A header and that many birds, drawn from the penguins' means and spreads."""
    random = np.random.default_rng(0)
    with path.open("w") as file:
        file.write(HEADER)
        for begin in range(0, rows, 100_000):
            kinds = random.choice(3, min(100_000, rows - begin), p=[0.44, 0.2, 0.36])
            values = MEANS[kinds] + SPREADS[kinds] * random.standard_normal((len(kinds), 4))
            file.writelines(
                f"{a:.1f},{b:.1f},{c:.0f},{d:.0f},{SPECIES[kind]}\n"
                for (a, b, c, d), kind in zip(values.tolist(), kinds.tolist(), strict=True)
            )


class Bench:
    """Runs the programs in images of `engine`, or here if that is None; `folder` is for /opt/ml."""

    def __init__(self, engine: str | None, base: str, folder: Path) -> None:
        self.engine, self.folder = engine, folder
        (folder / "wrapper.py").write_text(WRAPPER)
        for name, program in PROGRAMS.items() if engine else ():
            words = [f"--build-arg=BASE={base}", f"--tag=byoc-bench/{name}:1", str(program)]
            self.run(str(engine), "build", "--platform=linux/amd64", *words)

    def run(self, *words: str, **environment: str) -> str:
        done = subprocess.run(
            words, capture_output=True, text=True, env={**os.environ, **environment}
        )
        if done.returncode:
            sys.exit(f"{' '.join(words)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout

    def train(self, name: str, data: Path) -> dict[str, float]:
        """Seconds in all and in `fit`, and bytes, of one training."""
        ml = self.folder / name
        shutil.rmtree(ml, ignore_errors=True)
        for folder in ("input/config", "input/data/training", "model", "output"):
            (ml / folder).mkdir(parents=True)
        (ml / "input/data/training/birds.csv").hardlink_to(data)
        if self.engine:
            volumes = [f"--volume={ml}:/opt/ml", f"--volume={self.folder / 'wrapper.py'}:/w.py:ro"]
            words = [self.engine, "run", "--rm", "--network=none", *volumes]
            words += [f"byoc-bench/{name}:1", "python", "/w.py", "/opt/program/train"]
            output = self.run(*words)
        else:
            program = self.moved(name, ml)
            output = self.run(
                *[sys.executable, str(self.folder / "wrapper.py"), str(program)],
                SAGEMAKER_BASE_DIR=str(ml),
            )
        figures: dict[str, float] = json.loads(output.rpartition("MEASURED ")[2])
        return figures | {"outside": figures["seconds"] - figures["fit"]}

    def moved(self, name: str, ml: Path) -> Path:
        """The program; the sample's, which knows no place but /opt/ml, with that replaced."""
        program = PROGRAMS[name] / "train"
        if name == "ours":
            return program
        copy = ml / "train"
        copy.write_text(program.read_text().replace("/opt/ml", str(ml)))
        return copy


def engine() -> str | None:
    from byoc import engines

    return next((e.name for e in engines.available() if e.name != "process"), None)


def medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {figure: statistics.median(run[figure] for run in runs) for figure in runs[0]}


def report(measured: dict[int, dict[str, list[dict[str, float]]]]) -> Iterator[str]:
    """For each size a line a program, its figures by million rows too, and ours as ratio."""
    for rows, programs in measured.items():
        middle = {name: medians(runs) for name, runs in programs.items()}
        for name, figures in middle.items():
            seconds, megabytes = figures["outside"], figures["memory"] / 1e6
            yield (
                f"{rows / 1e6:5.1f} million rows {name:10}: {figures['seconds']:6.2f} s, "
                f"in fit {figures['fit']:6.2f} s, outside {seconds:6.2f} s, {megabytes:6.0f} MB; "
                f"a million: {seconds / rows * 1e6:.2f} s, {megabytes / rows * 1e6:.0f} MB"
            )
        for figure, goal in GOALS.items():
            ratio = middle["ours"][figure] / middle["aws_sample"][figure]
            verdict = "met" if ratio <= goal else "missed"
            yield (
                f"{rows / 1e6:5.1f} million rows {figure}: {ratio:.2f} x the sample's, "
                f"goal {goal}: {verdict}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows and repetitions")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    base = os.environ.get("BYOC_BASE") or "python:3.12-slim-bookworm"
    parser.add_argument("--base", default=base, help="what both are built on [%(default)s]")
    parser.add_argument("--here", action="store_true", help="without images, in this environment")
    arguments = parser.parse_args()
    sizes = {200_000: 1, 500_000: 1} if arguments.quick else {10**6: 5, 3 * 10**6: 3, 10**7: 1}
    measured: dict[int, dict[str, list[dict[str, float]]]] = {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        bench = Bench(None if arguments.here else engine(), arguments.base, Path(folder))
        load = os.getloadavg()[0]
        for rows, times in sizes.items():
            data = Path(folder) / "birds.csv"
            data.unlink(missing_ok=True)
            write_rows(data, rows)
            measured[rows] = {name: [] for name in PROGRAMS}
            for _ in range(times):  # in turns: a busy moment hits both alike
                for name, runs in measured[rows].items():
                    runs.append(bench.train(name, data))
    for line in report(measured):
        print(line)
    print(f"load {load:.1f} on {os.cpu_count()} processors: other work makes all slower")
    if arguments.json:
        content = {"load": load, "goals": GOALS, "engine": bench.engine, "runs": measured}
        arguments.json.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
