"""Figures of monitoring: distributions beside those of the training, and how a model did by day."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from byoc.plots import CYCLE, GREEN, GREY, MARKERS, RED, WIDTH

DASHES = ("-", "--", "-.", ":")


def distributions(samples: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """The cumulative distribution of each feature, a line a sample.

    `samples`: sample -> feature -> values; the first sample is what the others are compared with.
    """
    features = list(next(iter(samples.values())))
    figure, axes = plt.subplots(1, len(features), figsize=(WIDTH, 2.4), sharey=True)
    for ax, feature in zip(np.atleast_1d(axes), features, strict=True):
        for place, (name, columns) in enumerate(samples.items()):
            values = np.sort(columns[feature])
            colour = GREY if place == 0 else CYCLE[place - 1]
            look = {"color": colour, "linestyle": DASHES[place % 4], "linewidth": 1.8}
            ax.plot(values, np.arange(1, len(values) + 1) / len(values), label=name, **look)
        ax.set_xlabel(feature, fontsize=8)
        ax.tick_params(labelsize=8)
    axes = np.atleast_1d(axes)
    axes[0].set_ylabel("share of the birds below")
    axes[0].yaxis.set_major_formatter(PercentFormatter(1.0))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure


def distances(days: Mapping[str, Mapping[str, float]], limit: float) -> Axes:
    """The distance of each feature from the training, by day: a mark a feature, and the limit."""
    _, ax = plt.subplots(figsize=(WIDTH, 3.0))
    for place, feature in enumerate(next(iter(days.values()))):
        at = np.arange(len(days)) + 0.12 * (place - 1.5)
        values = [row[feature] for row in days.values()]
        ax.plot(at, values, MARKERS[place], color=CYCLE[place], label=feature)
    ax.axhline(limit, color=GREY, linestyle="--", label="the limit")
    ax.set_xticks(range(len(days)), list(days))
    ax.set(ylim=(0, 1.05), ylabel="distance from the training")
    ax.grid(axis="x", visible=False)
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax


def answers(
    seconds: Sequence[float], right: Sequence[bool], marks: Mapping[str, float], bins: int = 20
) -> Axes:
    """The share of right answers over time; `marks` name moments, in seconds."""
    _, ax = plt.subplots(figsize=(WIDTH, 3.0))
    edges = np.linspace(0, max(seconds), bins + 1)
    total = np.histogram(seconds, edges)[0]
    good = np.histogram([at for at, yes in zip(seconds, right, strict=True) if yes], edges)[0]
    share = np.divide(good, total, out=np.full(bins, np.nan), where=total > 0)
    ax.stairs(share, edges, fill=True, color=GREEN, alpha=0.85)
    for name, at in marks.items():
        ax.axvline(at, color=RED, linewidth=1.2)
        ax.text(at, 1.02, f" {name}", transform=ax.get_xaxis_transform(), fontsize=8, rotation=20)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    ax.set(xlabel="seconds", ylabel="right answers", ylim=(0, 1))
    return ax
