"""The figures of the chapter on privacy, in the style of byoc/plots.py."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from byoc.plots import BLUE, GREEN, MARKERS, ORANGE, RED, SPECIES, WIDTH

CURVES = (ORANGE, BLUE, GREEN)


def ladder(steps: Mapping[str, tuple[int, int]], total: int) -> Figure:
    """For each step of generalisation how many of `total` are alone, and how many are exposed."""
    figure, ax = plt.subplots(figsize=(WIDTH, 0.62 * len(steps) + 0.9))
    places = np.arange(len(steps))
    for shift, name, colour in ((-0.2, "can be found", RED), (0.2, "their secret is known", BLUE)):
        values = [pair[int(shift > 0)] for pair in steps.values()]
        bars = ax.barh(places + shift, values, 0.36, color=colour, label=name)
        ax.bar_label(bars, padding=3, fontsize=9)
    ax.set_yticks(places, list(steps))
    ax.invert_yaxis()
    ax.set_xlim(0, total)
    ax.set_xlabel(f"of {total} birds")
    ax.grid(False, axis="y")
    ax.legend(loc="lower right")
    return figure


def coarsened(
    before: np.ndarray,
    after: np.ndarray,
    labels: Sequence[str],
    names: Sequence[str],
    grid: Sequence[float],
) -> Figure:
    """Two features of shape (n, 2) as measured, and as released: a mark for each kind in a cell.

    `grid` has the widths of the intervals; a mark's area is the number of rows, written in it.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.4), sharex=True, sharey=True)
    kinds = sorted(set(labels))
    for number, kind in enumerate(kinds):
        chosen, colour = np.asarray(labels) == kind, SPECIES[kind]
        marker = MARKERS[number]
        left.scatter(*before[chosen].T, s=12, color=colour, marker=marker, alpha=0.7, label=kind)
        places, counts = np.unique(after[chosen], axis=0, return_counts=True)
        places[:, 1] += (1 - number) * grid[1] * 0.3  # the kinds of one cell side by side
        right.scatter(*places.T, s=14 * counts, color=colour, marker=marker, alpha=0.35)
        for place, count in zip(places, counts, strict=True):
            right.annotate(f"{count}", place, ha="center", va="center", fontsize=8)
    for ax, title in ((left, "as measured"), (right, "in intervals, with the number of birds")):
        for axis, values, width in zip((ax.xaxis, ax.yaxis), before.T, grid, strict=True):
            low, high = np.floor(values.min() / width), np.ceil(values.max() / width)
            axis.set_ticks(np.arange(low, high + 1) * width)
        ax.set_title(title, fontsize=10)
        ax.set_xlabel(names[0])
    left.set_ylabel(names[1])
    left.legend(fontsize=8, loc="lower right")
    return figure


def price(
    ks: Sequence[int],
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    full: float,
) -> Figure:
    """k against accuracy (beside that on all data, `full`) and against the share left out.

    `curves` has a name for each way to generalise, with a value for each k; NaN where no model
    could be trained.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.3))
    left.axhline(full, color="#BFBFBF", linestyle="--", linewidth=1)
    left.annotate("all data", (ks[-1], full), xytext=(0, 3), textcoords="offset points", ha="right")
    pairs = zip(curves.items(), CURVES, MARKERS, strict=False)
    for (name, (accuracy, suppressed)), colour, marker in pairs:
        left.plot(ks, accuracy, color=colour, marker=marker)
        right.plot(ks, suppressed, color=colour, marker=marker, label=name)
    left.set_ylabel("accuracy on unseen birds")
    right.set_ylabel("share of rows suppressed")
    right.set_ylim(0, 1)
    for ax in (left, right):
        ax.set_xlabel("k")
        ax.set_xticks(ks)
    right.legend(loc="upper left")
    return figure
