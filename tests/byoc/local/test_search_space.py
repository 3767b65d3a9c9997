"""What is drawn from ranges, and which ranges are refused."""

import random

import pytest

from byoc.local.errors import AWSError
from byoc.local.search_space import SearchSpace


def space(low, high, scaling=None, kind="Continuous"):
    given = {"Name": "x", "MinValue": low, "MaxValue": high}
    given |= {"ScalingType": scaling} if scaling else {}
    return SearchSpace({f"{kind}ParameterRanges": [given]})


def draws(searched, count=2000):
    source = random.Random(0)
    return [searched.draw(source)["x"] for _ in range(count)]


@pytest.mark.parametrize(
    ("low", "high", "scaling", "below", "share"),
    [
        ("0", "1", "Linear", 0.5, 0.5),
        ("1", "10", "Auto", 5.5, 0.5),
        ("0.0001", "1", "Logarithmic", 0.01, 0.5),
        ("0.0001", "1", "Auto", 0.01, 0.5),
        ("0.0001", "1", None, 0.01, 0.5),
        ("0", "0.9999", "ReverseLogarithmic", 0.99, 0.5),
    ],
)
def test_values_are_even_on_their_scale(low, high, scaling, below, share):
    found = [float(text) for text in draws(space(low, high, scaling))]
    assert all(float(low) <= x <= float(high) for x in found)
    assert sum(x < below for x in found) / len(found) == pytest.approx(share, abs=0.05)


@pytest.mark.parametrize("scaling", ["Linear", "Logarithmic"])
def test_integers_have_both_ends(scaling):
    found = draws(space("1", "4", scaling, "Integer"))
    assert set(found) == {"1", "2", "3", "4"}
    if scaling == "Linear":
        assert all(found.count(text) > 400 for text in set(found))


def test_the_same_source_gives_the_same_draws():
    assert draws(space("0", "1"), 5) == draws(space("0", "1"), 5)


def test_a_position_is_where_the_value_lies_on_its_scale():
    assert space("0.01", "1", "Logarithmic").features({"x": "0.1"}) == [pytest.approx(0.5)]
    assert space("0", "0.99", "ReverseLogarithmic").features({"x": "0.9"}) == [pytest.approx(0.5)]
    assert space("0", "10", kind="Integer").features({"x": "20"}) == [1.0]
    assert space("3", "3").features({"x": "3"}) == [0.5]
    for text in ("high", "nan"):
        assert space("0", "1").features({"x": text}) is None
    assert space("0", "1").features({"y": "1"}) is None
    letters = SearchSpace({"CategoricalParameterRanges": [{"Name": "x", "Values": ["a", "b"]}]})
    assert letters.features({"x": "b"}) == [0.0, 1.0]


def test_a_grid_is_every_combination_once():
    ranges = [{"Name": "x", "Values": ["a", "b", "a"]}, {"Name": "y", "Values": ["1", "2"]}]
    grid = SearchSpace({"CategoricalParameterRanges": ranges})
    assert grid.count == 4
    found = [(one["x"], one["y"]) for one in grid.grid()]
    assert found == [("a", "1"), ("a", "2"), ("b", "1"), ("b", "2")]


@pytest.mark.parametrize(
    ("low", "high", "scaling", "kind", "words"),
    [
        ("a", "1", None, "Continuous", "must be numbers"),
        ("0.5", "1", None, "Integer", "must be numbers"),
        ("2", "1", None, "Continuous", "must not be greater"),
        ("0", "inf", None, "Continuous", "must not be greater"),
        ("nan", "1", None, "Continuous", "must not be greater"),
        ("0", "1" * 400, None, "Integer", "must be numbers"),
        ("0", "1", "Logarithmic", "Continuous", "greater than 0"),
        ("0", "1", "ReverseLogarithmic", "Integer", "not supported for integers"),
        ("0", "1", "ReverseLogarithmic", "Continuous", "from 0 up to 1"),
    ],
)
def test_what_is_no_range(low, high, scaling, kind, words):
    with pytest.raises(AWSError, match=f"hyperparameter x is not valid.*{words}"):
        space(low, high, scaling, kind)


def test_each_hyperparameter_has_one_range_and_there_are_thirty_at_most():
    one = {"Name": "x", "MinValue": "0", "MaxValue": "1"}
    with pytest.raises(AWSError, match="one range only"):
        SearchSpace({"ContinuousParameterRanges": [one], "IntegerParameterRanges": [one]})
    many = [{**one, "Name": f"x{number}"} for number in range(20)]
    others = [{**one, "Name": f"y{number}"} for number in range(20)]
    with pytest.raises(AWSError, match="At most 30"):
        SearchSpace({"ContinuousParameterRanges": many, "IntegerParameterRanges": others})
