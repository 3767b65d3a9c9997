"""When a training job of a tuning job is stopped before its end."""

import pytest

from byoc.local.early_stopping import Halving, Median, Never, rule_of
from byoc.local.errors import AWSError
from byoc.local.strategies import Trial


def ended(*reports):
    return Trial({}, {}, list(reports), score=reports[-1], ended=True)


def stops(rule, *reports, others=()):
    return rule.stops(Trial({}, {}, list(reports)), others)


def test_the_median_of_the_running_averages_up_to_the_same_epoch():
    others = [
        ended(1.0, 3.0, 9.0),
        ended(2.0, 6.0, 9.0),
        ended(3.0, 9.0, 9.0),
    ]  # after two: 2, 4, 6
    assert stops(Median(), 9.0, 3.9, others=others)
    assert not stops(Median(), 0.0, 4.0, others=others)


def test_the_median_rule_needs_an_ended_job_that_went_further():
    assert not stops(Median(), 0.0)
    assert not stops(Median(), 0.0, others=[ended(1.0)])
    assert not stops(Median(), 0.0, others=[Trial({}, {}, [1.0, 1.0])])
    assert stops(Median(), 0.0, others=[ended(1.0, 1.0)])


def test_halving_lets_the_better_third_go_on():
    rule = Halving(1, 9)  # rungs after 1 and 3 epochs
    assert not stops(rule, 0.5)  # the first one is the best
    assert stops(rule, 0.4)
    assert not stops(rule, 0.6)
    assert not stops(rule, 0.6, 0.0)  # no rung
    assert not stops(rule, 0.6, 0.0, 0.1)
    assert stops(rule, 0.6, 0.0, 0.05)
    assert stops(rule, *[1.0] * 9)  # MaxResource


@pytest.mark.parametrize(
    ("config", "static", "kind"),
    [
        ({"Strategy": "Random"}, {}, Never),
        ({"Strategy": "Bayesian", "TrainingJobEarlyStoppingType": "Auto"}, {}, Median),
        ({"Strategy": "Hyperband"}, {"n_epochs": "30"}, Halving),
        (
            {
                "Strategy": "Hyperband",
                "StrategyConfig": {"HyperbandStrategyConfig": {"MaxResource": 5}},
            },
            {},
            Halving,
        ),
    ],
)
def test_the_rule_that_a_configuration_asks_for(config, static, kind):
    assert isinstance(rule_of(config, static), kind)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"Strategy": "Hyperband"}, "needs a MaxResource"),
        ({"Strategy": "Hyperband", "TrainingJobEarlyStoppingType": "Auto"}, "must be Off"),
        (
            {"StrategyConfig": {"HyperbandStrategyConfig": {"MinResource": 5, "MaxResource": 4}}},
            "at least MinResource, 5",
        ),
        (
            {"StrategyConfig": {"HyperbandStrategyConfig": {"MaxResource": 20_001}}},
            "at most 20000",
        ),
        (
            {"Strategy": "Grid", "StrategyConfig": {"HyperbandStrategyConfig": {}}},
            "only for the strategy Hyperband",
        ),
    ],
)
def test_what_is_refused(members, words):
    with pytest.raises(AWSError, match=words):
        rule_of({"Strategy": "Hyperband", **members}, {"epochs": "many"})
