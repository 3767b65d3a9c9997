"""Metrics by regular expression."""

import pytest

from byoc.local import metrics
from byoc.local.errors import AWSError
from byoc.local.metrics import Metrics


def final(lines, *expressions):
    definitions = [{"Name": e, "Regex": e} for e in expressions]
    found = Metrics("job", definitions)
    for line in lines:
        found.read("algo-1", line)
    return {name: datum["Value"] for name, datum in found.final.items()}


@pytest.mark.parametrize(
    ("line", "expression", "value"),
    [
        ("loss=0.5;", r"loss=([0-9\.]+);", 0.5),
        ("[7]#011train-rmse:1.25", r".*\[[0-9]+\].*#011train-rmse:([-+]?[0-9]*\.?[0-9]+).*", 1.25),
        ("7", "[0-9]+", 7.0),
        ("a=1 b=2", "a=(.*) b=(.*)", 1.0),
        ("x=1e-3", r"x=(\S+)", 0.001),
    ],
)
def test_the_first_group_is_the_value(line, expression, value):
    assert final([line], expression) == {expression: value}


def test_what_is_no_number_is_left_out():
    assert final(["x=a", "x=nan", "x=-inf", "x="], r"x=(\S*)", "x=(y)?") == {}


def test_an_expression_that_takes_too_long_is_given_up_and_the_others_go_on():
    catastrophe = "(a|aa)+$"
    lines = ["a" * 100 + "b", "loss=1", "a" * 100 + "b"] * 20
    assert final(lines, catastrophe, r"loss=(\d)") == {r"loss=(\d)": 1.0}


def test_an_expression_that_is_none_is_refused():
    metrics.check([{"Name": "good", "Regex": "a(b)"}])
    with pytest.raises(AWSError, match=r"a\(b of the metric bad is not valid"):
        metrics.check([{"Name": "good", "Regex": "a(b)"}, {"Name": "bad", "Regex": "a(b"}])
