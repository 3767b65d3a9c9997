"""What people and machines are shown of a check."""

import json
from xml.etree import ElementTree as xml

import click
import pytest

from byoc.check import Clause, Kind, Level, Outcome, Report, Status
from byoc.check import report as reports

# What a container may print: colours, a bell, bytes that are no UTF-8, XML's own characters.
GARBAGE = "\x1b[31mred\x07 \x00 \udcff \ufffe <b> ]]> & 50 €"


def clause(id, level=Level.MUST, group="First"):
    return Clause(
        id, Kind.SERVING, group, level, f"{id} holds.", "AWS says no.", "Mend it.", "A page", (), id
    )


@pytest.fixture
def report():
    """Six outcomes in two groups, with a container's garbage in them."""
    outcomes = [
        Outcome(clause("a-kept"), Status.KEPT, 1.0, note="after 0.8 s"),
        Outcome(clause("a-must"), Status.BROKEN, 0.5, "GET /ping", GARBAGE),
        Outcome(clause("a-should", Level.SHOULD), Status.BROKEN, 0.5, GARBAGE, "word " * 60),
        Outcome(clause("b-may", Level.MAY, "Second"), Status.BROKEN, 0.0, "sent", ""),
        Outcome(clause("b-unknown", group="Second"), Status.UNKNOWN, 0.0, back="it needs a-must"),
        Outcome(clause("b-error", group="Second"), Status.ERROR, 0.0, back=GARBAGE),
    ]
    return Report("image:1", "process", outcomes, 12.3)


def test_a_line_for_each_clause(report):
    lines = [click.unstyle(reports.line(one)) for one in report.outcomes]
    assert [line.split()[:2] for line in lines] == [
        ["✓", "a-kept"],
        ["✗", "a-must"],
        ["✗", "a-should"],
        ["✗", "b-may"],
        ["–", "b-unknown"],
        ["!", "b-error"],
    ]
    assert lines[0].endswith("a-kept holds. (after 0.8 s)")
    assert "should: a-should holds." in lines[2]
    assert "it needs a-must" in lines[4]
    assert all(len(line) <= 100 and "\n" not in line for line in lines)
    assert not any(character in "".join(lines) for character in "\x1b\x07\x00")


def test_details_say_what_was_sent_what_came_back_and_what_to_do(report):
    text = click.unstyle(reports.details(report))
    first, second, third = text.strip().split("\n\n")
    rows = [line.split(maxsplit=1)[0] for line in first.splitlines()]
    assert rows == ["✗", "sent", "back", "on", "fix", "source"]
    assert "✗ a-must (must): a-must holds." in first
    assert "AWS says no." in first
    assert "50 €" in first
    assert max(map(len, second.splitlines())) <= reports.WIDTH
    assert "nothing" in third
    assert "\x1b" not in text
    text.encode()  # a terminal takes it


def test_the_summary_counts(report):
    assert click.unstyle(reports.summary(report)).strip() == (
        "image:1 on process: 1 kept, 3 broken (1 must, 1 should, 1 may), 1 not tried, "
        "1 failed to be tried, in 12 s"
    )


def test_json_holds_everything(report):
    found = json.loads(json.dumps(reports.as_json(report)))
    assert (found["target"], found["engine"], found["exit_code"]) == ("image:1", "process", 1)
    assert found["counts"] == {"kept": 1, "broken": 3, "unknown": 1, "error": 1}
    must = next(one for one in found["clauses"] if one["id"] == "a-must")
    assert must["back"] == GARBAGE
    assert {"kind", "group", "level", "sentence", "on_aws", "fix", "source"} <= must.keys()
    assert found["clauses"][0]["note"] == "after 0.8 s"


def test_junit_is_sound_and_counts(report):
    root = xml.fromstring(reports.as_junit(report))
    first, second = root.findall("testsuite")
    counts = ["tests", "failures", "skipped", "errors"]
    assert [first.get(name) for name in ("name", *counts)] == ["First", "3", "2", "0", "0"]
    assert [second.get(name) for name in ("name", *counts)] == ["Second", "3", "1", "1", "1"]
    assert [len(list(root.iter(tag))) for tag in ("failure", "skipped", "error")] == [3, 1, 1]
    failure = first.find("testcase[@name='a-must']/failure")
    assert failure.get("type") == "must"
    assert "back: " in failure.text
    assert "<b> ]]> & 50 €" in failure.text
    assert second.find("testcase/skipped").get("message") == "it needs a-must"


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ([(Status.KEPT, Level.MUST)], 0),
        ([(Status.KEPT, Level.MUST), (Status.BROKEN, Level.SHOULD)], 0),
        ([(Status.KEPT, Level.MUST), (Status.UNKNOWN, Level.MUST)], 0),
        ([(Status.BROKEN, Level.MUST), (Status.ERROR, Level.MUST)], 1),
        ([(Status.KEPT, Level.MUST), (Status.ERROR, Level.MAY)], 2),
        ([(Status.UNKNOWN, Level.MUST)], 2),
        ([], 2),
    ],
)
def test_the_exit_code(statuses, code):
    outcomes = [Outcome(clause(f"c-{i}", lv), s, 0.0) for i, (s, lv) in enumerate(statuses)]
    assert Report("image:1", "process", outcomes, 1.0).exit_code == code
