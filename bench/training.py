"""What `train` costs beside AWS's scikit-learn sample: seconds outside `fit`, and peak memory.

`python bench/training.py [--quick] [--json FILE]` makes CSV files like the penguins' (seeded), and
lets both images train on them in turns, with a tree of depth 4: how long scikit-learn takes is not
the matter.

Memory is anonymous memory (what the program itself holds, without the pages of the files it read,
which the kernel may drop at any time and which a cgroup's own peak counts too): the greatest of
RssAnon of /proc, looked at every 5 ms by a thread in the process. Nothing here decides a test.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import goals
import numpy as np
from arguments import parse
from containers import Containers
from goals import Goal
from model import FEATURES
from noise import Noise, Spread
from rivals import AWS_SAMPLE, OURS, Rival

SIZES = {1_000_000: 3, 3_000_000: 2, 10_000_000: 1}  # rows -> turns
QUICK = {300_000: 1}
DRAWN = 500_000  # different rows; a longer file repeats them
SPECIES = ["Adelie", "Chinstrap", "Gentoo"]
MEANS = np.array([[38.8, 18.3, 190, 3706], [48.8, 18.4, 196, 3733], [47.6, 15.0, 217, 5092]])
SPREADS = np.array([[2.7, 1.2, 6.5, 459], [3.3, 1.1, 7.1, 384], [3.1, 1.0, 6.6, 501]])
# Rows may cost this much more where there are more of them, and still be called linear.
LINEAR = 1.15

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


Measured = dict[int, dict[str, dict[str, Spread]]]  # rows -> program -> figure


def write_rows(path: Path, rows: int) -> None:
    """A header and that many birds, drawn from the penguins' means and spreads."""
    random = np.random.default_rng(0)
    kinds = random.choice(3, min(rows, DRAWN), p=[0.44, 0.2, 0.36])
    values = MEANS[kinds] + SPREADS[kinds] * random.standard_normal((len(kinds), 4))
    lines = [
        f"{a:.1f},{b:.1f},{c:.0f},{d:.0f},{SPECIES[kind]}\n"
        for (a, b, c, d), kind in zip(values.tolist(), kinds.tolist(), strict=True)
    ]
    with path.open("w") as file:
        file.write(",".join([*FEATURES, "species"]) + "\n")
        for begin in range(0, rows, DRAWN):
            file.writelines(lines[: rows - begin])


def train(containers: Containers, rival: Rival, data: Path, wrapper: Path) -> dict[str, float]:
    """One training: seconds in all, in `fit` and outside it, and the most bytes."""
    with tempfile.TemporaryDirectory(dir=data.parent, ignore_cleanup_errors=True) as folder:
        ml = Path(folder)
        for name in ("input/config", "input/data/training", "model", "output"):
            (ml / name).mkdir(parents=True)
        (ml / "input/data/training/birds.csv").hardlink_to(data)
        volumes = {"/opt/ml": ml, "/wrapper.py": wrapper}
        words = ("python", "/wrapper.py", "/opt/program/train")
        said = containers.run(rival.image, *words, volumes=volumes)
    figures: dict[str, float] = json.loads(said.rpartition("MEASURED ")[2])
    return figures | {"outside": figures["seconds"] - figures["fit"]}


def measure(containers: Containers, sizes: dict[int, int], noise: Noise) -> Measured:
    """Both programs in turns, so that a busy moment hits both alike."""
    measured: Measured = {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        wrapper, data = Path(folder) / "wrapper.py", Path(folder) / "birds.csv"
        wrapper.write_text(WRAPPER)
        for rows, turns in sizes.items():
            data.unlink(missing_ok=True)
            write_rows(data, rows)
            runs: dict[str, list[dict[str, float]]] = {OURS.name: [], AWS_SAMPLE.name: []}
            for _ in range(turns):
                for rival in (OURS, AWS_SAMPLE):
                    runs[rival.name].append(train(containers, rival, data, wrapper))
                    noise.listen()
            measured[rows] = {
                name: {figure: Spread.of([one[figure] for one in all_]) for figure in all_[0]}
                for name, all_ in runs.items()
            }
            print(*lines(rows, measured[rows]), sep="\n", flush=True)
    return measured


def lines(rows: int, programs: dict[str, dict[str, Spread]]) -> Iterator[str]:
    """For each program its figures, also by million rows."""
    for name, figures in programs.items():
        outside, megabytes = figures["outside"].median, figures["memory"].median / 2**20
        yield (
            f"{rows / 1e6:5.1f} million rows {name:10}: {figures['seconds'].median:6.2f} s, "
            f"in fit {figures['fit'].median:6.2f} s, outside {outside:6.2f} s, "
            f"{megabytes:6.0f} MiB; a million: {outside / rows * 1e6:.2f} s, "
            f"{megabytes / rows * 1e6:.0f} MiB"
        )


def training_goals(measured: Measured) -> list[Goal]:
    """What is asked of training: beside the sample for each size, and linear in the rows."""
    found: list[Goal] = []
    for rows, programs in measured.items():
        ours, aws = programs[OURS.name], programs[AWS_SAMPLE.name]
        size = f"train, {rows / 1e6:g} million rows"
        for what, figure, unit, scale, limit in (
            ("outside fit", "outside", "s", 1.0, 0.6),
            ("peak memory", "memory", "MiB", 2**20, 0.5),
        ):
            pair = ours[figure].median / scale, aws[figure].median / scale
            title = AWS_SAMPLE.title
            found.append(Goal(f"{size}: {what}", pair[0], unit, limit, "at most", title, pair[1]))
    least, *_, most = measured
    for what, figure, unit, scale in (
        ("outside fit", "outside", "µs", 1e-6),
        ("peak memory", "memory", "B", 1.0),
    ):
        many, few = (measured[n][OURS.name][figure].median / n / scale for n in (most, least))
        name = f"train, a row of {most / 1e6:g} million: {what}"
        found.append(Goal(name, many, unit, LINEAR, "at most", f"of {least / 1e6:g} million", few))
    return found


def main() -> int:
    arguments = parse(__doc__)
    noise, containers = Noise(), Containers(arguments.base)
    for rival in (OURS, AWS_SAMPLE):
        containers.build(rival.folder, rival.image)
    measured = measure(containers, QUICK if arguments.quick else SIZES, noise)
    repeats = {
        f"{name} on {rows:,} rows": figures["outside"]
        for rows, programs in measured.items()
        for name, figures in programs.items()
    }
    return goals.conclude(
        arguments.json,
        [] if arguments.quick else training_goals(measured),
        noise.reasons(repeats),
        noise=noise.record(),
        training=measured,
    )


if __name__ == "__main__":
    sys.exit(main())
