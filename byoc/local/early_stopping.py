"""Which training jobs of a tuning job are stopped before their end.

Both rules count each report of the objective as one epoch.
"""

import statistics
from collections.abc import Sequence
from typing import Any, Protocol

from byoc.local.errors import validation
from byoc.local.strategies import Trial

REDUCTION = 3  # one of so many goes on. Source: Li et al., Hyperband, 2018; AWS names no number
INFERRED_FROM = ("epochs", "numepochs", "n-epochs", "n_epochs", "num_epochs")
MOST_EPOCHS = 20_000


class Rule(Protocol):
    """What decides."""

    def stops(self, trial: Trial, others: Sequence[Trial]) -> bool:
        """Whether the trial is to be stopped after its newest report."""


class Never:
    """TrainingJobEarlyStoppingType Off."""

    def stops(self, trial: Trial, others: Sequence[Trial]) -> bool:
        return False


class Median:
    """Worse than the median of what earlier jobs had on average up to the same epoch.

    Only jobs that have ended and went further count: a job in its last epoch is not stopped.
    Source: Developer Guide, automatic-model-tuning-early-stopping; that the others have ended:
    API Reference, HyperParameterTuningJobConfig.
    """

    def stops(self, trial: Trial, others: Sequence[Trial]) -> bool:
        epoch = len(trial.reports)
        averages = [
            statistics.fmean(other.reports[:epoch])
            for other in others
            if other.score is not None and len(other.reports) > epoch
        ]
        return bool(averages) and trial.reports[-1] < statistics.median(averages)


class Halving:
    """Hyperband: at each rung only the better third goes on; at the last one all are stopped.

    AWS says that Hyperband stops no job before MinResource, stops all at MaxResource, and stops
    those that underperform between. How, it does not say: this is the asynchronous rule.
    Source: API Reference, HyperbandStrategyConfig; Li et al., A System for Massively Parallel
    Hyperparameter Tuning, 2020.
    """

    def __init__(self, least: int, most: int) -> None:
        self._most = most
        self._rungs: dict[int, list[float]] = {}
        while least < most:
            self._rungs[least] = []
            least *= REDUCTION

    def stops(self, trial: Trial, others: Sequence[Trial]) -> bool:
        epoch, score = len(trial.reports), trial.reports[-1]
        if epoch >= self._most:
            return True
        if epoch not in self._rungs:
            return False
        rung = self._rungs[epoch]
        rung.append(score)
        allowed = max(1, len(rung) // REDUCTION)
        return score < sorted(rung, reverse=True)[allowed - 1]


def rule_of(config: dict[str, Any], static: dict[str, str]) -> Rule:
    """The rule that a HyperParameterTuningJobConfig asks for; raises ValidationException."""
    stopping = config.get("TrainingJobEarlyStoppingType", "Off")
    settings = config.get("StrategyConfig", {}).get("HyperbandStrategyConfig")
    if config["Strategy"] != "Hyperband":
        if settings is not None:
            raise validation("HyperbandStrategyConfig is only for the strategy Hyperband.")
        return Median() if stopping == "Auto" else Never()
    if stopping == "Auto":
        raise validation("TrainingJobEarlyStoppingType must be Off to use Hyperband.")
    most = (settings or {}).get("MaxResource") or _inferred(static)
    least = (settings or {}).get("MinResource", 1)
    if not least <= most <= MOST_EPOCHS:
        raise validation(
            f"Hyperband's MaxResource is {most}: it must be at least MinResource, {least}, and at "
            f"most {MOST_EPOCHS}."
        )
    return Halving(least, most)


def _inferred(static: dict[str, str]) -> int:
    for name in INFERRED_FROM:
        if static.get(name, "").isdecimal():
            return int(static[name])
    names = ", ".join(INFERRED_FROM)
    raise validation(
        f"Hyperband needs a MaxResource, or one of {names} among the StaticHyperParameters."
    )
