"""The figures of the page "Performance" and of chapter 4, drawn from the records of one run.

`python bench/figures.py RECORDS FOLDER` reads serving.json, rungs.json and curves.json and writes
performance-*.svg. Same records, same bytes.
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from byoc import plots


def rivals(record: dict[str, Any]) -> Figure:
    """Requests a second of every server without errors, ours first, for CSV and for JSON."""
    panels: dict[str, list[str]] = {}
    for name, entries in record["throughput"].items():
        # The constant answer is no server of its own.
        right = [n for n, one in entries.items() if not one["errors"] and n != "constant"]
        panels[name] = sorted(right, key=lambda n: (not is_ours(n), -entries[n]["rate"]["median"]))
    heights = [len(order) for order in panels.values()]
    figure, axes = plt.subplots(
        len(panels),
        figsize=(plots.WIDTH, 0.27 * sum(heights) + 1.2),
        height_ratios=heights,
        sharex=True,
    )
    for ax, (name, order) in zip(axes, panels.items(), strict=True):
        values = [record["throughput"][name][rival]["rate"]["median"] for rival in order]
        titles = [record["titles"][rival] for rival in order]
        plots.bars(ax, titles, values, "{:,.0f}", sum(map(is_ours, order)))
        ax.set_title(f"One row of {name.upper()} a request", loc="left", fontsize=10)
    axes[-1].set_xlabel("requests a second, 8 connections, 2 workers")
    return figure


def is_ours(name: str) -> bool:
    """Whether a rival is one of our two adapters."""
    return name.startswith("ours")


TEXTS = {  # what a drawing shows, for those who do not see it
    "rivals": "Bars: requests a second of each server, ours first, for one row of CSV and of JSON.",
    "ladder": "Bars: requests a second, start, memory and megabytes installed of each rung.",
}
CURVE = "Lines over the number of {}: throughput, p50 and p99, and memory."


def save(figure: Figure, path: Path, name: str) -> None:
    """Write an SVG that says what it shows."""
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    text = TEXTS.get(name) or CURVE.format(plots.AXES[name][0])
    names = f'<title id="title">Performance: {name}</title><desc id="desc">{text}</desc>'
    head = r'<svg role="img" aria-labelledby="title desc" \1>' + names
    path.write_text(re.sub(r"<svg ([^>]*)>", head, path.read_text(), count=1))


def draw(records: Path, folder: Path) -> list[Path]:
    """Draw every figure whose record is there; returns the files."""
    plots.style()
    plt.rcParams["svg.hashsalt"] = "byoc"  # else the names inside differ from run to run

    def read(name: str) -> dict[str, Any]:
        path = records / f"{name}.json"
        return json.loads(path.read_text()) if path.is_file() else {}

    drawn: dict[str, Figure] = {}
    if serving := read("serving"):
        drawn["rivals"] = rivals(serving)
    if rungs := read("rungs"):
        drawn["ladder"] = plots.ladder(rungs)
    if curves := read("curves"):
        for name, lines in curves["curves"].items():
            drawn[name] = plots.curve(name, lines, curves["titles"])
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in drawn.items():
        paths.append(folder / f"performance-{name}.svg")
        save(figure, paths[-1], name)
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("records", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    matplotlib.use("svg")
    for path in draw(arguments.records, arguments.folder):
        print(path)


if __name__ == "__main__":
    main()
