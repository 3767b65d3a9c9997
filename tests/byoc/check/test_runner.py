"""Clauses are chosen and tried one after the other, whatever comes of each."""

from dataclasses import replace

import pytest

from byoc import ByocError, engines
from byoc.check import CLAUSES, Kind, Level, Settings, Status, check
from byoc.check.clause import Broken, Clause, Unknown
from byoc.check.http import NoAnswer
from byoc.check.runner import select

from .conftest import GOOD, outcome

EVERYTHING = Settings(kinds=frozenset(Kind))


@pytest.fixture
def tried(monkeypatch):
    """Try clauses that are given as id -> (what their trial does, what they need)."""

    def run(**trials):
        clauses = [
            Clause(id, Kind.IMAGE, "Group", Level.MUST, f"{id}.", "", "", "", tuple(needs), trial)
            for id, (trial, *needs) in trials.items()
        ]
        monkeypatch.setattr("byoc.check.runner.CLAUSES", clauses)
        engine = engines.engine("process")
        image = engine.build(GOOD, "runner:1")
        wanted = [one for one in clauses if one.id != "unasked"]
        return check(engine, image, Settings(), wanted)

    return run


def fails(error):
    def trial(subject):
        raise error

    return trial


def test_what_each_trial_comes_to(tried):
    report = tried(
        kept=(lambda subject: None,),
        noted=(lambda subject: "in 3 s",),
        broken=(fails(Broken("a request", "an answer")),),
        unknown=(fails(Unknown("no network here")),),
        crash=(fails(ZeroDivisionError("oh")),),
        refused=(fails(ByocError("no space")),),
    )
    assert [o.status for o in report.outcomes] == [
        Status.KEPT,
        Status.KEPT,
        Status.BROKEN,
        Status.UNKNOWN,
        Status.ERROR,
        Status.ERROR,
    ]
    assert outcome(report, "noted").note == "in 3 s"
    assert (outcome(report, "broken").sent, outcome(report, "broken").back) == (
        "a request",
        "an answer",
    )
    assert outcome(report, "unknown").back == "no network here"
    assert outcome(report, "crash").back == "ZeroDivisionError: oh"
    assert report.exit_code == 1


def test_a_request_without_an_answer_breaks_the_clause(tried):
    report = tried(silent=(lambda subject: fails(NoAnswer("GET /", "it timed out"))(subject),))
    assert outcome(report, "silent").status is Status.BROKEN
    assert "timed out" in outcome(report, "silent").back


def test_what_needs_a_broken_clause_is_not_tried(tried):
    report = tried(
        first=(fails(Broken("this", "that")),),
        second=(fails(ZeroDivisionError()), "first"),
        third=(fails(ZeroDivisionError()), "second"),
    )
    assert [o.status for o in report.outcomes] == [Status.BROKEN, Status.UNKNOWN, Status.UNKNOWN]
    assert outcome(report, "second").back == "it needs first"


def test_what_a_clause_needs_is_tried_once_and_not_reported(tried):
    calls = []
    report = tried(
        unasked=(lambda subject: calls.append("unasked"),),
        one=(lambda subject: calls.append("one"), "unasked"),
        two=(lambda subject: calls.append("two"), "unasked"),
    )
    assert calls == ["unasked", "one", "two"]
    assert [o.clause.id for o in report.outcomes] == ["one", "two"]


def test_patterns_are_for_ids_kinds_and_levels():
    training = select(EVERYTHING, ["training"])
    assert {one.kind for one in training} == {Kind.TRAINING}
    assert select(EVERYTHING, ["train-*"]) == training
    assert {one.level for one in select(EVERYTHING, ["must"])} == {Level.MUST}
    left = select(EVERYTHING, ["training"], ["must", "train-stops"])
    assert "train-stops" not in {one.id for one in left}
    assert Level.MUST not in {one.level for one in left}
    with pytest.raises(ByocError, match="No clause is called 'train-absent'"):
        select(EVERYTHING, ["train-absent"])


def test_only_the_kinds_of_the_container():
    found = select(replace(EVERYTHING, kinds=frozenset({Kind.IMAGE, Kind.SERVING})))
    assert {one.kind for one in found} == {Kind.IMAGE, Kind.SERVING}


def test_every_clause_is_whole():
    ids = {one.id for one in CLAUSES}
    assert len(ids) == len(CLAUSES) >= 60
    for one in CLAUSES:
        assert one.sentence.endswith("."), one.id
        assert one.on_aws, one.id
        assert one.fix, one.id
        assert one.source, one.id
        assert set(one.needs) <= ids, one.id
