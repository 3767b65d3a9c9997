"""Figures of scaling: time and cost of the ways to serve, and instances that follow a load."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from byoc.plots import BLUE, CYCLE, ORANGE, WIDTH

DASHES = ("-", "--", "-.", ":")


def seconds(of: Mapping[str, float]) -> Axes:
    """A bar for the seconds of each way."""
    _, ax = plt.subplots(figsize=(WIDTH, 0.45 * len(of) + 0.8))
    bars = ax.barh(list(of), list(of.values()), color=CYCLE[: len(of)])
    ax.bar_label(bars, fmt="%.1f s", padding=4)
    ax.invert_yaxis()
    ax.set_xlabel("seconds for all rows")
    ax.margins(x=0.15)
    ax.grid(axis="y", visible=False)
    return ax


def costs(hourly: Sequence[float], lines: Mapping[str, Sequence[float]]) -> Axes:
    """Dollars a thousand predictions against predictions an hour, a line a way."""
    _, ax = plt.subplots(figsize=(WIDTH, 3.2))
    for place, (name, values) in enumerate(lines.items()):
        ax.loglog(hourly, values, DASHES[place % 4], color=CYCLE[place], label=name, linewidth=2)
    ax.set(xlabel="predictions an hour", ylabel="dollars a thousand predictions")
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax


def instances(at: Sequence[float], there: Sequence[int]) -> Figure:
    """Requests a second, and below them the instances in service, over the same seconds."""
    figure, (above, below) = plt.subplots(2, 1, figsize=(WIDTH, 3.8), sharex=True)
    edges = np.arange(0, max(at) + 1)
    above.stairs(np.histogram(at, edges)[0], edges, fill=True, color=BLUE)
    above.set_ylabel("requests a second")
    below.step(at, there, where="post", color=ORANGE, linewidth=2)
    below.fill_between(at, there, step="post", color=ORANGE, alpha=0.3)
    below.set(xlabel="seconds", ylabel="instances", ylim=(0, max(there) + 0.5))
    below.yaxis.set_major_locator(MaxNLocator(integer=True))
    return figure
