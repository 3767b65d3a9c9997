"""Which hyperparameters a tuning job tries next.

Source: Developer Guide, automatic-model-tuning-how-it-works. Of its Bayesian search AWS says that
it is a regression over the results so far which weighs exploring against exploiting; here it is a
Gaussian process and the expected improvement. Source: Snoek, Larochelle, Adams, Practical Bayesian
Optimization of Machine Learning Algorithms, 2012, which the Developer Guide names.
"""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Protocol

from byoc.local.search_space import SearchSpace

DRAWS = 100  # tries to draw a combination that is new
AT_RANDOM = 3  # results that Bayesian search needs to begin with; AWS does not say how many
CANDIDATES = 500  # combinations from which it chooses the next one


@dataclass
class Trial:
    """One training job of a tuning job; scores are such that a greater one is better."""

    hyperparameters: dict[str, str]  # static ones too
    tuned: dict[str, str]
    reports: list[float] = field(default_factory=list)  # each value of the objective, in order
    score: float | None = None  # the last one, once the job has ended well
    ended: bool = False
    parent: str = ""  # the tuning job that ran it, if that is one of the parents


class Strategy(Protocol):
    """What chooses."""

    def next(self, trials: Sequence[Trial]) -> dict[str, str] | None:
        """The combination to try after these trials, some of which still run; None: no more."""


class Random:
    """A combination at random, that was not tried before if there are enough."""

    def __init__(self, space: SearchSpace, source: random.Random) -> None:
        self._space, self._source = space, source

    def next(self, trials: Sequence[Trial]) -> dict[str, str] | None:
        tried = [trial.tuned for trial in trials]
        for _ in range(DRAWS):
            drawn = self._space.draw(self._source)
            if drawn not in tried:
                break
        return drawn


class Grid:
    """Every combination, once; AWS does not say in which order."""

    def __init__(self, space: SearchSpace) -> None:
        self._left = space.grid()

    def next(self, trials: Sequence[Trial]) -> dict[str, str] | None:
        return next(self._left, None)


class Bayesian:
    """The combination that promises most over the best so far.

    A trial that still runs counts as one with a middling result, so that the next one goes
    elsewhere. Results of each parent are taken relative to that parent's own.
    """

    def __init__(self, space: SearchSpace, source: random.Random) -> None:
        self._space, self._source = space, source
        self._random = Random(space, source)

    def next(self, trials: Sequence[Trial]) -> dict[str, str] | None:
        known = [t for t in trials if t.score is not None and self._place(t)]
        if len(known) < AT_RANDOM or not self._space.parameters:
            return self._random.next(trials)
        tried = [trial.tuned for trial in trials]
        drawn = [self._space.draw(self._source) for _ in range(CANDIDATES)]
        new = [one for one in drawn if one not in tried] or drawn
        pending = [t for t in trials if not t.ended and self._place(t)]
        places = [self._place(t) for t in [*known, *pending]]
        scores = [*_standard(known), *(0.0 for _ in pending)]
        promise = _expected_improvement(
            places,
            scores,
            [self._space.features(one) for one in new],
            self._source.randrange(2**32),
        )
        return new[promise.index(max(promise))]

    def _place(self, trial: Trial) -> list[float] | None:
        return self._space.features(trial.hyperparameters)


def _standard(trials: Sequence[Trial]) -> list[float]:
    """The scores of each tuning job less their mean, over their standard deviation."""
    groups = defaultdict(list)
    for trial in trials:
        groups[trial.parent].append(trial.score or 0.0)
    means = {name: sum(group) / len(group) for name, group in groups.items()}
    deviations = {
        name: (sum((x - means[name]) ** 2 for x in group) / len(group)) ** 0.5 or 1.0
        for name, group in groups.items()
    }
    return [((t.score or 0.0) - means[t.parent]) / deviations[t.parent] for t in trials]


def _expected_improvement(
    places: list, scores: list[float], candidates: list, seed: int
) -> list[float]:
    """What each candidate is expected to gain over the best score.

    The libraries are imported here: a local AWS that tunes nothing does without their memory.
    """
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import Matern, WhiteKernel

    kernel = Matern([0.5] * len(places[0]), (0.05, 10.0), nu=2.5) + WhiteKernel(0.01)
    process = GaussianProcessRegressor(kernel, n_restarts_optimizer=1, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        process.fit(places, scores)
    means, deviations = process.predict(candidates, return_std=True)
    best, normal = max(scores), NormalDist()
    return [
        gain * normal.cdf(gain / spread) + spread * normal.pdf(gain / spread)
        for gain, spread in zip(means - best, deviations.clip(1e-9), strict=True)
    ]
