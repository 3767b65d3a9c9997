"""What came out, for people (a terminal) and for machines (JSON, JUnit)."""

import textwrap
from collections.abc import Iterable
from typing import Any
from xml.etree import ElementTree as xml

import click

from byoc.check.clause import Clause, Level
from byoc.check.runner import Outcome, Report, Status

MARKS = {
    Status.KEPT: ("✓", "green"),
    Status.BROKEN: ("✗", "red"),
    Status.UNKNOWN: ("–", "bright_black"),
    Status.ERROR: ("!", "magenta"),
}
WIDTH = 96


def line(outcome: Outcome) -> str:
    """One clause on one line: mark, id, and why it was not tried, what level it breaks or a note
    on how it was kept."""
    mark, colour = MARKS[outcome.status]
    said = outcome.clause.sentence
    if outcome.status in (Status.UNKNOWN, Status.ERROR):
        said = _clean(outcome.back)
    level = f"{outcome.clause.level}: " if outcome.status is Status.BROKEN else ""
    note = f" ({textwrap.shorten(outcome.note, 40, placeholder=' …')})" if outcome.note else ""
    text = textwrap.shorten(f"{level}{said}", WIDTH - 34 - len(note), placeholder=" …") + note
    return f"  {click.style(mark, fg=colour)} {outcome.clause.id:<30} {text}"


def heading(clause: Clause) -> str:
    """The line above the first clause of a group."""
    return "\n" + click.style(clause.group, bold=True)


def details(report: Report) -> str:
    """For each broken clause what was sent, what came back, what it means, and what to do."""
    parts = []
    for outcome in report.outcomes:
        if outcome.status is not Status.BROKEN:
            continue
        one = outcome.clause
        parts.append(click.style(f"\n✗ {one.id} ({one.level}): {one.sentence}", bold=True))
        rows = {
            "sent": outcome.sent,
            "back": outcome.back,
            "on AWS": one.on_aws,
            "fix": one.fix,
            "source": one.source,
        }
        parts += [_row(name, text) for name, text in rows.items()]
    return "\n".join(parts)


def summary(report: Report) -> str:
    """The last line: how many were kept, broken, not tried, and the time."""
    broken = [
        f"{number} {level}" for level in Level if (number := report.count(Status.BROKEN, level))
    ]
    parts = [f"{report.count(Status.KEPT)} kept"]
    parts.append(
        f"{report.count(Status.BROKEN)} broken" + (f" ({', '.join(broken)})" * bool(broken))
    )
    parts.append(f"{report.count(Status.UNKNOWN)} not tried")
    if errors := report.count(Status.ERROR):
        parts.append(f"{errors} failed to be tried")
    return f"\n{report.target} on {report.engine}: {', '.join(parts)}, in {report.seconds:.0f} s"


def clause_row(one: Clause) -> dict[str, str]:
    """A clause as JSON shows it."""
    return {
        "id": one.id,
        "kind": one.kind,
        "group": one.group,
        "level": one.level,
        "sentence": one.sentence,
        "on_aws": one.on_aws,
        "fix": one.fix,
        "source": one.source,
    }


def as_json(report: Report) -> dict[str, Any]:
    """The whole report as plain data."""
    return {
        "target": report.target,
        "engine": report.engine,
        "exit_code": report.exit_code,
        "seconds": round(report.seconds, 1),
        "counts": {status.value: report.count(status) for status in Status},
        "clauses": [
            {
                **clause_row(o.clause),
                "status": o.status,
                "sent": o.sent,
                "back": o.back,
                "note": o.note,
                "seconds": round(o.seconds, 2),
            }
            for o in report.outcomes
        ],
    }


def as_junit(report: Report) -> bytes:
    """The report in JUnit's XML: a suite for each group. A broken `should` or `may` is a failure
    too, whose type is its level."""
    root = xml.Element("testsuites", name=f"byoc check {report.target}")
    for group in dict.fromkeys(o.clause.group for o in report.outcomes):
        of_group = [o for o in report.outcomes if o.clause.group == group]
        suite = xml.SubElement(root, "testsuite", {"name": group, **_counts(of_group)})
        for outcome in of_group:
            case = xml.SubElement(
                suite,
                "testcase",
                classname=f"{report.target}.{outcome.clause.kind}",
                name=outcome.clause.id,
                time=f"{outcome.seconds:.3f}",
            )
            _add_status(case, outcome)
    return xml.tostring(root, encoding="utf-8", xml_declaration=True)


def _counts(outcomes: list[Outcome]) -> dict[str, str]:
    statuses = [o.status for o in outcomes]
    return {
        "tests": f"{len(statuses)}",
        "failures": f"{statuses.count(Status.BROKEN)}",
        "skipped": f"{statuses.count(Status.UNKNOWN)}",
        "errors": f"{statuses.count(Status.ERROR)}",
        "time": f"{sum(o.seconds for o in outcomes):.3f}",
    }


def _add_status(case: xml.Element, outcome: Outcome) -> None:
    one = outcome.clause
    if outcome.note:
        xml.SubElement(case, "system-out").text = _clean(outcome.note)
    if outcome.status is Status.BROKEN:
        failure = xml.SubElement(case, "failure", type=one.level, message=_clean(one.sentence))
        rows = [
            f"sent: {outcome.sent}",
            f"back: {outcome.back}",
            f"on AWS: {one.on_aws}",
            f"fix: {one.fix}",
            f"source: {one.source}",
        ]
        failure.text = _clean("\n".join(rows))
    elif outcome.status is Status.UNKNOWN:
        xml.SubElement(case, "skipped", message=_clean(outcome.back))
    elif outcome.status is Status.ERROR:
        xml.SubElement(case, "error", message=_clean(outcome.back))


def _clean(text: str) -> str:
    """Without the characters that XML can't hold; a container may have sent any."""
    return "".join(
        c if c in "\n\t" or c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text
    )


def _row(name: str, text: str) -> str:
    indent = " " * 11
    shown = _clean(" ".join(text.split()))
    wrapped: Iterable[str] = textwrap.wrap(shown, WIDTH - len(indent)) or ["nothing"]
    return f"  {name:<7}  " + f"\n{indent}".join(wrapped)
