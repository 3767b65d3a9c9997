"""What the strategies try next."""

import random

import pytest

from byoc.local.search_space import SearchSpace
from byoc.local.strategies import Bayesian, Grid, Random, Trial

BETWEEN = {"MinValue": "0", "MaxValue": "1"}
SQUARE = SearchSpace({"ContinuousParameterRanges": [{"Name": n, **BETWEEN} for n in ("x", "y")]})
LETTERS = SearchSpace(
    {"CategoricalParameterRanges": [{"Name": "x", "Values": ["a", "b", "c", "d"]}]}
)


def score(tuned):
    """Best at (0.7, 0.2)."""
    return -((float(tuned["x"]) - 0.7) ** 2) - (float(tuned["y"]) - 0.2) ** 2


def tried(tuned, result, **members):
    return Trial(tuned, tuned, score=result, ended=result is not None, **members)


def search(strategy, count):
    trials = []
    for _ in range(count):
        tuned = strategy.next(trials)
        trials.append(tried(tuned, score(tuned)))
    return trials


def test_random_search_tries_nothing_twice_while_there_is_something_new():
    strategy, trials = Random(LETTERS, random.Random(0)), []
    for _ in range(4):
        trials.append(tried(strategy.next(trials), 0.0))
    assert sorted(trial.tuned["x"] for trial in trials) == ["a", "b", "c", "d"]
    assert strategy.next(trials)["x"] in "abcd"


def test_a_grid_ends():
    strategy = Grid(LETTERS)
    assert [strategy.next([])["x"] for _ in range(4)] == ["a", "b", "c", "d"]
    assert strategy.next([]) is None


def test_bayesian_search_comes_closer_than_random_search():
    def best(kind):
        of_each = [search(kind(SQUARE, random.Random(n)), 15) for n in range(3)]
        return sum(max(trial.score for trial in trials) for trials in of_each)

    assert best(Bayesian) > best(Random)
    assert best(Bayesian) > 3 * -0.01


def test_bayesian_search_is_the_same_for_a_seed():
    first, second = (search(Bayesian(SQUARE, random.Random(7)), 6) for _ in range(2))
    assert [trial.tuned for trial in first] == [trial.tuned for trial in second]


def test_bayesian_search_goes_elsewhere_while_a_trial_runs():
    trials = search(Bayesian(SQUARE, random.Random(1)), 8)
    strategy = Bayesian(SQUARE, random.Random(2))
    for _ in range(4):
        trials.append(tried(strategy.next(trials), None))
    under_way = [trial.tuned for trial in trials[-4:]]
    assert all(under_way.count(tuned) == 1 for tuned in under_way)


def test_bayesian_search_learns_from_parents_whose_scores_are_of_another_size():
    strategy = Bayesian(SQUARE, random.Random(0))
    grid = [{"x": f"{x / 5}", "y": f"{y / 5}"} for x in range(6) for y in range(6)]
    parents = [tried(one, 1000 + 50 * score(one), parent="before") for one in grid]
    tuned = strategy.next(parents)
    assert score(tuned) == pytest.approx(0, abs=0.05)


def test_bayesian_search_does_with_equal_scores_and_odd_parents():
    strategy = Bayesian(SQUARE, random.Random(0))
    odd = [tried({"x": "low", "y": "0"}, 1.0, parent="before"), tried({"z": "1"}, 2.0)]
    same = [tried({"x": f"{n / 5}", "y": "0.5"}, 1.0) for n in range(5)]
    assert set(strategy.next([*odd, *same])) == {"x", "y"}
