"""The tests of drift find what has changed, and seldom what has not."""

import drift
import numpy as np
import pytest


@pytest.mark.parametrize(("expected", "actual"), [(40, 40), (300, 50), (512, 5000), (30, 3000)])
def test_without_a_change_little_is_found(expected, actual):
    random, tests, found = np.random.default_rng(0), 10, 0
    for _ in range(200):
        before, now = random.normal(size=expected), random.normal(size=actual)
        distance = drift.distance(before, now, tests)
        stability = drift.stability(*drift.binned(before, now), tests)
        found += distance.real + stability.real
    assert found <= 8  # CHANCE / tests x 2 tests x 200 rounds = 2 are expected


@pytest.mark.parametrize("rows", [300, 3000])
def test_a_shift_by_one_deviation_is_found(rows):
    random = np.random.default_rng(0)
    before, now = random.normal(size=300), random.normal(1, size=rows)
    distance = drift.distance(before, now, 10)
    assert distance.real
    assert distance.size == pytest.approx(0.38, abs=0.08)
    stability = drift.stability(*drift.binned(before, now), 10)
    assert stability.real
    assert stability.size > 0.5


def test_the_index_is_that_of_the_formula():
    before, now = np.array([50, 50]), np.array([90, 10])
    expected = 0.4 * np.log(0.9 / 0.5) - 0.4 * np.log(0.1 / 0.5)
    assert drift.stability(before, now, 1).size == pytest.approx(expected)


@pytest.mark.parametrize(
    ("before", "now"), [([5, 0], [9, 0]), ([0, 0], [1, 2]), ([3, 4], [0, 0]), ([], [])]
)
def test_without_two_bins_there_is_no_index(before, now):
    assert drift.stability(np.array(before), np.array(now), 1) == (0, False)


def test_a_feature_with_few_values_has_few_bins():
    before, now = drift.binned(np.array([0.0, 0, 0, 1]), np.array([0.0, 1, 1, 2]))
    assert before.sum() == now.sum() == 4
    assert before.tolist() == [3, 1, 0]


def test_labels_are_counted_by_name():
    labels, before, now = drift.counted({"b": 3, "a": 1}, ["c", "a", "a"])
    assert labels == ["a", "b", "c"]
    assert (before.tolist(), now.tolist()) == ([1, 3, 0], [2, 0, 1])


def test_a_drop_counts_only_if_it_is_no_chance():
    assert not drift.drop((95, 100), (9, 10)).real
    assert not drift.drop((95, 100), (97, 100)).real
    worse = drift.drop((95, 100), (70, 100))
    assert worse.real
    assert worse.size == pytest.approx(0.25)
