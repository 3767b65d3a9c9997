"""The ranges that a tuning job searches: what may be asked for, and how they are scaled.

Source: Developer Guide, automatic-model-tuning-define-ranges; API Reference, ParameterRanges.
"""

import itertools
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from byoc.local.errors import AWSError, validation

MOST = 30  # hyperparameters of all ranges together. Source: API Reference, ParameterRanges
SEVERAL_ORDERS = 100.0  # AWS does not say which scale Auto takes; from here on it is logarithmic


@dataclass(frozen=True)
class Numbers:
    """A range of integers or floating-point numbers; a position is its place on its scale, 0–1."""

    name: str
    low: float
    high: float
    integer: bool
    scale: str  # Linear, Logarithmic or ReverseLogarithmic

    @property
    def count(self) -> float:
        """How many values there are."""
        if self.integer:
            return self.high - self.low + 1
        return 1.0 if self.low == self.high else math.inf

    def value(self, position: float) -> str:
        """The value at a position, as a container gets it."""
        if not self.integer:
            found = self._unscaled(position, self.low, self.high)
            return repr(min(max(found, self.low), self.high))
        # Each integer is as wide as the next one on its scale, the last one too.
        found = math.floor(self._unscaled(position, self.low, self.high + 1))
        return f"{min(max(found, int(self.low)), int(self.high))}"

    def features(self, text: str) -> list[float]:
        """The position of a value; of one outside the range, the nearest end."""
        if not math.isfinite(float(text)):
            raise ValueError(f"{text} has no place in a range")
        number = min(max(float(text), self.low), self.high)
        if self.low == self.high:
            return [0.5]
        low, high = self._scaled(self.low), self._scaled(self.high)
        return [(self._scaled(number) - low) / (high - low)]

    def _scaled(self, number: float) -> float:
        if self.scale == "Logarithmic":
            return math.log(number)
        return -math.log(1 - number) if self.scale == "ReverseLogarithmic" else number

    def _unscaled(self, position: float, low: float, high: float) -> float:
        if self.scale == "Logarithmic":
            return low * (high / low) ** position
        if self.scale == "ReverseLogarithmic":
            return 1 - (1 - low) * ((1 - high) / (1 - low)) ** position
        return low + position * (high - low)


@dataclass(frozen=True)
class Categories:
    """A list of texts."""

    name: str
    values: tuple[str, ...]

    @property
    def count(self) -> float:
        return len(self.values)

    def value(self, position: float) -> str:
        return self.values[min(int(position * len(self.values)), len(self.values) - 1)]

    def features(self, text: str) -> list[float]:
        """A 1 for the value, a 0 for each other one."""
        return [float(text == value) for value in self.values]


Parameter = Numbers | Categories


class SearchSpace:
    """All ranges of a tuning job; raises ValidationException for what AWS refuses."""

    def __init__(self, ranges: Mapping[str, Any]) -> None:
        self.parameters: list[Parameter] = [
            *(_numbers(one, integer=True) for one in ranges.get("IntegerParameterRanges", [])),
            *(_numbers(one, integer=False) for one in ranges.get("ContinuousParameterRanges", [])),
            *(_categories(one) for one in ranges.get("CategoricalParameterRanges", [])),
        ]
        names = self.kinds
        if len(names) < len(self.parameters):
            raise validation("Each hyperparameter may have one range only.")
        if len(names) > MOST:
            raise validation(f"At most {MOST} hyperparameters can be searched, got {len(names)}.")

    @property
    def kinds(self) -> dict[str, str]:
        """Integer, Continuous or Categorical, by the hyperparameter's name."""
        return {
            one.name: "Categorical"
            if isinstance(one, Categories)
            else ("Integer" if one.integer else "Continuous")
            for one in self.parameters
        }

    @property
    def count(self) -> float:
        """How many combinations there are, perhaps infinitely many."""
        return math.prod(one.count for one in self.parameters)

    def draw(self, source: random.Random) -> dict[str, str]:
        """A combination at random, even on each range's scale."""
        return {one.name: one.value(source.random()) for one in self.parameters}

    def grid(self) -> Iterator[dict[str, str]]:
        """Every combination of categorical ranges."""
        categories = [one for one in self.parameters if isinstance(one, Categories)]
        for values in itertools.product(*(one.values for one in categories)):
            yield {one.name: value for one, value in zip(categories, values, strict=True)}

    def features(self, hyperparameters: Mapping[str, str]) -> list[float] | None:
        """Where a job's hyperparameters lie in the space; None if it had not all of them."""
        try:
            return [x for one in self.parameters for x in one.features(hyperparameters[one.name])]
        except (KeyError, ValueError):
            return None


def _numbers(given: Mapping[str, str], *, integer: bool) -> Numbers:
    name, scale = given["Name"], given.get("ScalingType", "Auto")
    try:
        read = int if integer else float
        low, high = float(read(given["MinValue"])), float(read(given["MaxValue"]))
    except (ValueError, OverflowError):
        raise _wrong(name, "its MinValue and MaxValue must be numbers of its type") from None
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise _wrong(name, "its MinValue must not be greater than its MaxValue")
    if scale == "Auto":
        wide = low > 0 and high / low >= SEVERAL_ORDERS
        scale = "Logarithmic" if wide else "Linear"
    if scale == "Logarithmic" and low <= 0:
        raise _wrong(name, "Logarithmic scaling works only for values greater than 0")
    if scale == "ReverseLogarithmic" and integer:
        raise _wrong(name, "ReverseLogarithmic scaling is not supported for integers")
    if scale == "ReverseLogarithmic" and not 0 <= low <= high < 1:
        raise _wrong(name, "ReverseLogarithmic scaling works only for values from 0 up to 1")
    return Numbers(name, low, high, integer, scale)


def _categories(given: Mapping[str, Any]) -> Categories:
    return Categories(given["Name"], tuple(dict.fromkeys(given["Values"])))


def _wrong(name: str, why: str) -> AWSError:
    """AWS's rule, in our words."""
    return validation(f"The range of the hyperparameter {name} is not valid: {why}.")
