"""Whether what an endpoint is sent still is what its model was trained on.

With many rows the smallest difference is significant, and with few a large one may be chance. So a
difference counts only if it is both: larger than a limit, and no chance.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

CHANCE = 0.05  # that anything is reported although nothing has changed, of all tests together
BINS = 10


class Difference(NamedTuple):
    size: float
    real: bool  # not chance


def distance(expected: np.ndarray, actual: np.ndarray, tests: int) -> Difference:
    """The largest distance between the two cumulative distributions, 0 to 1 (Kolmogorov-Smirnov).

    `tests`: how many are made together; each gets its share of CHANCE (Bonferroni).
    """
    if not len(actual):
        return Difference(0.0, False)
    result = stats.ks_2samp(expected, actual)
    return Difference(float(result.statistic), bool(result.pvalue < CHANCE / tests))


def stability(expected: np.ndarray, actual: np.ndarray, tests: int) -> Difference:
    """The population stability index of two arrays of counts, one a bin.

    If nothing has changed it is a chi-squared variable of (bins - 1) degrees of freedom times
    (1/n + 1/m), so that its usual limits 0.1 and 0.25 are too strict for few rows.
    Source: Yurdakul, Statistical Properties of Population Stability Index, Western Michigan
    University, 2018.
    """
    used = (expected + actual) > 0
    if used.sum() < 2 or not expected.sum() or not actual.sum():
        return Difference(0.0, False)
    # Half a row where there is none: its logarithm would be infinite.
    e, a = (np.maximum(counts[used], 0.5) / counts.sum() for counts in (expected, actual))
    size = float(np.sum((a - e) * np.log(a / e)))
    critical = stats.chi2.isf(CHANCE / tests, used.sum() - 1)
    chance = critical * (1 / expected.sum() + 1 / actual.sum())
    return Difference(size, bool(size > chance))


def binned(expected: np.ndarray, actual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many values of each lie between the deciles of `expected`."""
    edges = np.unique(np.quantile(expected, np.arange(1, BINS) / BINS, method="inverted_cdf"))

    def counts(values: np.ndarray) -> np.ndarray:
        return np.bincount(edges.searchsorted(values), minlength=len(edges) + 1)

    return counts(expected), counts(actual)


def counted(
    expected: dict[str, int], actual: Sequence[str]
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """(labels, rows expected, rows there are) of each label."""
    there = Counter(actual)
    labels = sorted({*expected, *there})
    before = np.array([expected.get(label, 0) for label in labels])
    return labels, before, np.array([there[label] for label in labels])


def drop(expected: tuple[int, int], actual: tuple[int, int]) -> Difference:
    """How much lower a share is: each is (right, all). Fisher's exact test, one-sided."""
    table = [[expected[0], expected[1] - expected[0]], [actual[0], actual[1] - actual[0]]]
    result = stats.fisher_exact(table, alternative="greater")
    size = expected[0] / expected[1] - actual[0] / actual[1]
    return Difference(size, bool(result.pvalue < CHANCE))
