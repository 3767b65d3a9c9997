"""The book's figures: one style, readable in light and dark pages and by the colour-blind."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

# Okabe and Ito's palette: its colours differ in lightness too. Source: jfly.uni-koeln.de/color
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#595959"
SPECIES = {"Adelie": BLUE, "Chinstrap": ORANGE, "Gentoo": GREEN}
MARKERS = ("o", "s", "^", "D", "v", "P")
CYCLE = (BLUE, ORANGE, GREEN, RED, "#56B4E9", "#CC79A7")

WIDTH = 7.6  # inches; a page of the book shows 760 pixels
AXES = {  # of the curves: what they are drawn over, and the base of its logarithm
    "workers": ("workers", 2),
    "threads": ("threads a worker", 2),
    "connections": ("connections", 2),
    "rows": ("rows a request", 10),
    "nodes": ("nodes of the tree", 10),
}

STATUS_COLOURS = {
    "Starting": GREY,
    "Downloading": "#56B4E9",
    "Training": BLUE,
    "Uploading": ORANGE,
    "Stopping": RED,
}


def style() -> None:
    """Set the style for all figures that follow; call it once in a notebook."""
    plt.rcParams.update(
        {
            "figure.figsize": (6.4, 3.6),
            "figure.dpi": 110,
            "figure.facecolor": "white",  # a light card also on a dark page
            "figure.constrained_layout.use": True,
            "savefig.facecolor": "white",
            "axes.prop_cycle": plt.cycler(color=CYCLE),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "#E5E5E5",
            "font.size": 10,
            "legend.frameon": False,
        }
    )


def scatter(
    features: np.ndarray, labels: Sequence[str], names: Sequence[str], ax: Axes | None = None
) -> Axes:
    """Points of shape (n, 2), a colour and a marker a label."""
    ax = ax or plt.subplots()[1]
    for i, label in enumerate(sorted(set(labels))):
        x, y = features[np.asarray(labels) == label].T
        colour = SPECIES.get(label, CYCLE[i % len(CYCLE)])
        marker = MARKERS[i % len(MARKERS)]
        ax.scatter(x, y, s=18, color=colour, marker=marker, alpha=0.8, label=label)
    ax.set_xlabel(names[0])
    ax.set_ylabel(names[1])
    ax.legend()
    return ax


def decision_boundary(
    predict: Callable[[np.ndarray], Sequence[str]],
    features: np.ndarray,
    labels: Sequence[str],
    names: Sequence[str],
) -> Axes:
    """What `predict` says on a grid over two features, under the points of shape (n, 2)."""
    ax = scatter(features, labels, names)
    classes = sorted(set(labels))
    margin = 0.05 * np.ptp(features, axis=0)
    low, high = features.min(axis=0) - margin, features.max(axis=0) + margin
    x, y = np.meshgrid(np.linspace(low[0], high[0], 200), np.linspace(low[1], high[1], 200))
    answers = predict(np.column_stack([x.ravel(), y.ravel()]).astype(np.float32))
    codes = np.searchsorted(classes, answers).reshape(x.shape)
    colours = [SPECIES.get(c, CYCLE[i % len(CYCLE)]) for i, c in enumerate(classes)]
    levels = np.arange(len(classes) + 1) - 0.5
    ax.contourf(x, y, codes, levels=levels, colors=colours, alpha=0.18, zorder=0)
    ax.grid(False)
    return ax


def confusion(actual: Sequence[str], predicted: Sequence[str]) -> Axes:
    """How often each true label (row) got each answer (column)."""
    classes = sorted({*actual, *predicted})
    counts = np.zeros((len(classes), len(classes)), int)
    for truth, answer in zip(actual, predicted, strict=True):
        counts[classes.index(truth), classes.index(answer)] += 1
    _, ax = plt.subplots(figsize=(4.2, 3.6))
    ax.imshow(counts, cmap="Blues", vmin=0, vmax=max(1, counts.max()) * 1.4)
    for (row, column), count in np.ndenumerate(counts):
        ax.text(column, row, f"{count}", ha="center", va="center", color="black")
    ax.set_xticks(range(len(classes)), classes)
    ax.set_yticks(range(len(classes)), classes)
    ax.set_xlabel("predicted")
    ax.set_ylabel("actual")
    ax.grid(False)
    return ax


def tree(nodes: np.ndarray, features: Sequence[str], classes: Sequence[str]) -> Axes:
    """The table of nodes that the container saves, drawn as a tree; left means "at most"."""
    places: dict[int, tuple[float, int]] = {}
    _place(nodes, 0, 0, places, [0.0])
    width = max(x for x, _ in places.values()) + 1
    depth = max(y for _, y in places.values()) + 1
    _, ax = plt.subplots(figsize=(max(6.4, 1.2 * width), 0.95 * depth + 0.3))
    for number, (x, y) in places.items():
        node = nodes[number]
        leaf = node["left"] < 0
        best = int(np.argmax(node["probabilities"]))
        colour = SPECIES.get(classes[best], CYCLE[best % len(CYCLE)]) if leaf else GREY
        share = node["probabilities"][best]
        question = f"{features[node['feature']]}\n≤ {node['threshold']:.5g}"
        text = f"{classes[best]}\n{share:.0%}" if leaf else question
        box = {"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": colour}
        ax.text(x, -y, text, ha="center", va="center", fontsize=9.5, bbox={**box, "linewidth": 1.6})
        for child, word in () if leaf else ((node["left"], "yes"), (node["right"], "no")):
            cx, cy = places[int(child)]
            ax.plot([x, cx], [-y, -cy], color="#BFBFBF", linewidth=1, zorder=0)
            if y == 0:
                ax.text((x + cx) / 2, -(y + cy) / 2, word, fontsize=9, color=GREY, ha="center")
    ax.set_xlim(-0.7, width - 0.3)
    ax.set_ylim(-depth + 0.4, 0.5)
    ax.axis("off")
    return ax


def _place(
    nodes: np.ndarray,
    number: int,
    depth: int,
    places: dict[int, tuple[float, int]],
    column: list[float],
) -> float:
    """Leaves from left to right, each question above the middle of its answers; returns x."""
    node = nodes[number]
    if node["left"] < 0:
        x, column[0] = column[0], column[0] + 1
    else:
        left = _place(nodes, int(node["left"]), depth + 1, places, column)
        x = (left + _place(nodes, int(node["right"]), depth + 1, places, column)) / 2
    places[number] = (x, depth)
    return x


def job_timeline(job: Mapping[str, Any]) -> Axes:
    """The secondary statuses of a DescribeTrainingJob answer as bars over seconds."""
    rows = [t for t in job["SecondaryStatusTransitions"] if t["Status"] in STATUS_COLOURS]
    start = rows[0]["StartTime"]
    _, ax = plt.subplots(figsize=(6.4, 0.42 * len(rows) + 1.0))
    for i, row in enumerate(rows):
        begin = (row["StartTime"] - start).total_seconds()
        length = (row["EndTime"] - row["StartTime"]).total_seconds()
        ax.barh(i, length, left=begin, color=STATUS_COLOURS[row["Status"]], height=0.6)
        ax.text(begin + length, i, f" {length:.1f} s", va="center", fontsize=9)
    ax.set_yticks(range(len(rows)), [row["Status"] for row in rows])
    ax.invert_yaxis()
    ax.margins(x=0.15)
    ax.set_xlabel("seconds after creation")
    ax.grid(axis="y", visible=False)
    return ax


def trials(
    places: Sequence[tuple[float, float]], values: Sequence[float], names: Sequence[str]
) -> Figure:
    """Training jobs of a search: their value in order with the best so far, and their places.

    `places` are two hyperparameters of each job; `names` those of the two and of the value.
    """
    first, second, value = names
    figure, (order, plane) = plt.subplots(1, 2, figsize=(WIDTH, 3.2))
    number = np.arange(1, len(values) + 1)
    order.scatter(number, values, color=BLUE, s=24, label="one job")
    order.step(number, np.maximum.accumulate(values), color=ORANGE, where="post", label="best")
    order.set(xlabel="training job", ylabel=value)
    order.xaxis.set_major_locator(plt.MaxNLocator(integer=True))
    order.legend(loc="lower right")
    x, y = np.array(places, float).T
    dots = plane.scatter(x, y, c=values, cmap="viridis", s=60, edgecolors=GREY)
    figure.colorbar(dots, ax=plane, label=value)
    plane.set(xlabel=first, ylabel=second)
    return figure


def latency(milliseconds: Sequence[float]) -> Axes:
    """The distribution of response times with its median and 99th percentile."""
    values = np.asarray(milliseconds)
    p50, p99 = np.percentile(values, [50, 99])
    _, ax = plt.subplots()
    ax.hist(values, bins=40, range=(0, max(p99 * 1.3, 1e-6)), color=BLUE, alpha=0.85)
    for value, name, dashes in ((p50, "p50", "-"), (p99, "p99", "--")):
        ax.axvline(value, color=RED, linestyle=dashes, label=f"{name} {value:.1f} ms")
    ax.set_xlabel("milliseconds")
    ax.set_ylabel("requests")
    ax.legend()
    return ax


def intervals(rows: Mapping[str, tuple[float, float, float]], label: str) -> Axes:
    """A share (0 to 1) for each name with its interval: low, share, high."""
    _, ax = plt.subplots(figsize=(6.4, 0.5 * len(rows) + 0.9))
    for place, (low, share, high) in enumerate(rows.values()):
        look: dict[str, Any] = {"color": CYCLE[place], "marker": MARKERS[place], "markersize": 7}
        ax.errorbar(share, place, xerr=[[share - low], [high - share]], capsize=5, **look)
        ax.text(share, place - 0.18, f"{share:.0%}", ha="center", va="bottom", fontsize=9)
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set_ylim(len(rows) - 0.5, -0.6)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    ax.set_xlabel(label)
    ax.grid(axis="y", visible=False)
    return ax


def traffic(seconds: Sequence[float], answered: Sequence[str], marks: Mapping[str, float]) -> Axes:
    """The share of the requests that each version answered over time; `marks` name moments."""
    _, ax = plt.subplots(figsize=(WIDTH, 3.0))
    edges, total = _bins(seconds)
    bottom = np.zeros(len(total))
    for number, name in enumerate(sorted(set(answered))):
        own = [at for at, who in zip(seconds, answered, strict=True) if who == name]
        share = np.histogram(own, edges)[0] / np.maximum(total, 1)
        width = np.diff(edges)
        ax.bar(edges[:-1], share, width, bottom, align="edge", color=CYCLE[number], label=name)
        bottom += share
    _over_time(ax, marks, "share of the requests")
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax


def error_rate(
    seconds: Sequence[float], failed: Sequence[bool], marks: Mapping[str, float], threshold: float
) -> Axes:
    """The share of the requests that failed over time, and the alarm's threshold (0 to 1)."""
    _, ax = plt.subplots(figsize=(WIDTH, 3.0))
    edges, total = _bins(seconds)
    bad = np.histogram([at for at, no in zip(seconds, failed, strict=True) if no], edges)[0]
    ax.stairs(bad / np.maximum(total, 1), edges, fill=True, color=RED, label="failed")
    ax.axhline(threshold, color=GREY, linestyle="--", label="the alarm's threshold")
    _over_time(ax, marks, "share of the requests")
    ax.set_ylim(0, max(0.3, *(1.3 * bad / np.maximum(total, 1))))
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax


def _bins(seconds: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Thirty bins over the whole time: their edges, and the requests in each."""
    edges = np.linspace(0, max(seconds), 31)
    return edges, np.histogram(seconds, edges)[0]


def _over_time(ax: Axes, marks: Mapping[str, float], label: str) -> None:
    """An axis of seconds with a line and a name at each moment."""
    for name, at in marks.items():
        ax.axvline(at, color="black", linewidth=1)
        ax.text(at, 1.02, f" {name}", transform=ax.get_xaxis_transform(), fontsize=8, rotation=20)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    ax.set(xlabel="seconds", ylabel=label)


def sizes(bytes_by_name: Mapping[str, int], largest: int = 12) -> Axes:
    """Bars of the largest entries in megabytes; the rest as one bar."""
    entries = sorted(bytes_by_name.items(), key=lambda item: -item[1])
    shown = dict(entries[:largest])
    if rest := sum(size for _, size in entries[largest:]):
        shown["all others"] = rest
    _, ax = plt.subplots(figsize=(6.4, 0.3 * len(shown) + 0.8))
    bars = ax.barh(list(shown), [size / 1e6 for size in shown.values()], color=BLUE)
    ax.bar_label(bars, fmt="%.1f", padding=3, fontsize=9)
    ax.invert_yaxis()
    ax.margins(x=0.12)
    ax.set_xlabel("MB installed")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.grid(axis="y", visible=False)
    return ax


def bars(ax: Axes, names: Sequence[str], values: Sequence[float], form: str, ours: int) -> None:
    """Horizontal bars, the first on top; the first `ours` in another colour."""
    colours = [BLUE if i < ours else GREY for i in range(len(names))]
    drawn = ax.barh(range(len(names)), values, color=colours)
    ax.bar_label(drawn, [form.format(value) for value in values], padding=3, fontsize=8)
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.margins(x=0.22)
    ax.grid(axis="y", visible=False)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    ax.xaxis.set_major_locator(plt.MaxNLocator(3))


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
    names = [f"{n}  {_wrap(one['title'])}" for n, one in enumerate(rungs, 1)]
    for ax, (title, value), form in zip(axes, columns.items(), forms, strict=True):
        bars(ax, names, [value(one) for one in rungs], form, len(rungs))
        ax.invert_yaxis()  # shared: every panel has turned it
        ax.margins(x=0.5)
        ax.set_title(title, loc="left", fontsize=9)
        ax.tick_params(labelsize=8)
    axes[0].invert_yaxis()
    return figure


def _wrap(title: str) -> str:
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
            "color": CYCLE[number],
            "marker": MARKERS[number],
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
        ax.xaxis.set_major_formatter(FuncFormatter(_short))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.yaxis.set_major_formatter(FuncFormatter(_short))
        ax.yaxis.set_minor_locator(NullLocator())
        ax.set_xlabel(label)
        ax.tick_params(labelsize=8)
    for ax in (rate, memory):
        ax.set_ylim(bottom=None if ax.get_yscale() == "log" else 0)
    if len(lines) > 1:
        rate.legend(fontsize=8)
    return figure


def _short(value: float, _: object) -> str:
    """A tick: 20k, 1M."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"
