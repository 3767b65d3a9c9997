"""The figures of the page "Performance" and of chapter 4, drawn from the records of one run.

`python bench/figures.py RECORDS FOLDER` reads serving.json, rungs.json and curves.json and writes
performance-*.svg. Same records, same bytes.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from byoc import plots

WIDTH = 7.6  # inches; a page of the book shows 760 pixels
AXES = {
    "workers": ("workers", 2),
    "threads": ("threads a worker", 2),
    "connections": ("connections", 2),
    "rows": ("rows a request", 10),
    "nodes": ("nodes of the tree", 10),
}


def bars(ax: Axes, names: Sequence[str], values: Sequence[float], form: str, ours: int) -> None:
    """Horizontal bars, the first on top; the first `ours` in another colour."""
    colours = [plots.BLUE if i < ours else plots.GREY for i in range(len(names))]
    drawn = ax.barh(range(len(names)), values, color=colours)
    ax.bar_label(drawn, [form.format(value) for value in values], padding=3, fontsize=8)
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.margins(x=0.22)
    ax.grid(axis="y", visible=False)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    ax.xaxis.set_major_locator(plt.MaxNLocator(3))


def rivals(record: dict[str, Any]) -> Figure:
    """Requests a second of every server without errors, ours first, for CSV and for JSON."""
    panels: dict[str, list[str]] = {}
    for name, entries in record["throughput"].items():
        # The constant answer is no server of its own.
        right = [n for n, one in entries.items() if not one["errors"] and n != "constant"]
        panels[name] = sorted(right, key=lambda n: (not is_ours(n), -entries[n]["rate"]["median"]))
    heights = [len(order) for order in panels.values()]
    figure, axes = plt.subplots(
        len(panels), figsize=(WIDTH, 0.27 * sum(heights) + 1.2), height_ratios=heights, sharex=True
    )
    for ax, (name, order) in zip(axes, panels.items(), strict=True):
        values = [record["throughput"][name][rival]["rate"]["median"] for rival in order]
        titles = [record["titles"][rival] for rival in order]
        bars(ax, titles, values, "{:,.0f}", sum(map(is_ours, order)))
        ax.set_title(f"One row of {name.upper()} a request", loc="left", fontsize=10)
    axes[-1].set_xlabel("requests a second, 8 connections, 2 workers")
    return figure


def is_ours(name: str) -> bool:
    """Whether a rival is one of our two adapters."""
    return name.startswith("ours")


def ladder(record: dict[str, Any]) -> Figure:
    """Each rung: requests a second, seconds until it starts, memory, and what it installs."""
    rungs = list(record["rungs"].values())
    columns: dict[str, Callable[[dict[str, Any]], float]] = {
        "requests a second": lambda one: one["rate"]["median"],
        "start, seconds": lambda one: one["start"]["median"],
        "memory, MiB": lambda one: one["memory"] / 2**20,
        "installed, MB": lambda one: one["installed"] / 1e6,
    }
    forms = ("{:,.0f}", "{:.1f}", "{:.0f}", "{:.0f}")
    figure, axes = plt.subplots(
        1, len(columns), figsize=(WIDTH, 0.34 * len(rungs) + 0.9), sharey=True
    )
    names = [f"{n}  {wrap(one['title'])}" for n, one in enumerate(rungs, 1)]
    for ax, (title, value), form in zip(axes, columns.items(), forms, strict=True):
        bars(ax, names, [value(one) for one in rungs], form, len(rungs))
        ax.invert_yaxis()  # shared: every panel has turned it
        ax.margins(x=0.5)
        ax.set_title(title, loc="left", fontsize=9)
        ax.tick_params(labelsize=8)
    axes[0].invert_yaxis()
    return figure


def wrap(title: str) -> str:
    """A long title on two lines."""
    head, comma, tail = title.partition(", ")
    return f"{head},\n{tail}" if comma and len(title) > 28 else title


def curve(name: str, lines: dict[str, Any], titles: dict[str, str]) -> Figure:
    """Throughput, latency and memory over one axis, a line a server."""
    label, base = AXES[name]
    figure, (rate, latency, memory) = plt.subplots(1, 3, figsize=(WIDTH, 2.7))
    for number, (rival, points) in enumerate(lines.items()):
        right = [one for one in points if "errors" not in one]
        x = [one["x"] for one in right]
        look: dict[str, Any] = {
            "color": plots.CYCLE[number],
            "marker": plots.MARKERS[number],
            "markersize": 4,
        }
        times = x if name == "rows" else [1] * len(x)
        rate.plot(
            x,
            [one["rate"] * n for one, n in zip(right, times, strict=True)],
            label=titles[rival],
            **look,
        )
        for part, dashes in (("p50", "-"), ("p99", "--")):
            latency.plot(x, [one[part] for one in right], linestyle=dashes, **look)
        memory.plot(x, [one["memory"] / 2**20 for one in right], **look)
    first = "rows a second" if name == "rows" else "requests a second"
    for ax, title in ((rate, first), (latency, "p50 —, p99 - -, ms"), (memory, "memory, MiB")):
        ax.set_title(title, loc="left", fontsize=9)
    latency.set_yscale("log")
    latency.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    if name == "rows":
        rate.set_yscale("log")
    for ax in (rate, latency, memory):
        ax.set_xscale("log", base=base)
        ax.xaxis.set_major_formatter(FuncFormatter(short))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.yaxis.set_major_formatter(FuncFormatter(short))
        ax.yaxis.set_minor_locator(NullLocator())
        ax.set_xlabel(label)
        ax.tick_params(labelsize=8)
    for ax in (rate, memory):
        ax.set_ylim(bottom=None if ax.get_yscale() == "log" else 0)
    if len(lines) > 1:
        rate.legend(fontsize=8)
    return figure


def short(value: float, _: object) -> str:
    """A tick: 20k, 1M."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


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
        drawn["ladder"] = ladder(rungs)
    if curves := read("curves"):
        for name, lines in curves["curves"].items():
            drawn[name] = curve(name, lines, curves["titles"])
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in drawn.items():
        paths.append(folder / f"performance-{name}.svg")
        figure.savefig(paths[-1], metadata={"Date": None})
        plt.close(figure)
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
