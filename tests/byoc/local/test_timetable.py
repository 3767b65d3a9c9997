"""When rate, cron and at expressions are due."""

import datetime as dt

import pytest

from byoc.local import timetable
from byoc.local.errors import AWSError

NOW = dt.datetime(2026, 11, 23, 6, 30, tzinfo=dt.UTC)  # a Monday


@pytest.mark.parametrize(
    ("expression", "zone", "due"),
    [
        ("cron(0 10 * * ? *)", "UTC", "2026-11-23T10:00"),
        ("cron(0 10 * * ? *)", "Europe/Berlin", "2026-11-23T09:00"),
        ("cron(15 12 ? * MON-FRI *)", "UTC", "2026-11-23T12:15"),
        ("cron(0/15 * * * ? *)", "UTC", "2026-11-23T06:45"),
        ("cron(30 6 * * ? *)", "UTC", "2026-11-24T06:30"),
        ("cron(0 0 ? * 1 *)", "UTC", "2026-11-29T00:00"),
        ("cron(0 0 L * ? *)", "UTC", "2026-11-30T00:00"),
        ("cron(5,10 8-9 1 JAN,FEB ? 2027)", "UTC", "2027-01-01T08:05"),
        ("cron(0 0 29 2 ? *)", "UTC", "2028-02-29T00:00"),
        ("cron(0 0 1 1 ? 2020)", "UTC", None),
        ("at(2026-12-01T00:00:00)", "America/New_York", "2026-12-01T05:00"),
        ("at(2026-11-23T06:30:00)", "UTC", None),
    ],
)
def test_the_next_run(expression, zone, due):
    expected = due and dt.datetime.fromisoformat(f"{due}:00+00:00")
    assert timetable.next_run(expression, NOW, zone) == expected


@pytest.mark.parametrize(
    "expression",
    [
        "cron(0 10 * * * *)",
        "cron(60 10 * * ? *)",
        "cron(0 10 * * ?)",
        "cron(0 10 ? * XXX *)",
        "at(tomorrow)",
        "daily",
    ],
)
def test_what_is_no_expression(expression):
    with pytest.raises(ValueError):  # noqa: PT011
        timetable.next_run(expression, NOW)


@pytest.mark.parametrize("field", ["? * 6L", "? * MON#2", "15W * ?"])
def test_what_is_not_done_is_refused(field):
    with pytest.raises(AWSError, match="L, W or #"):
        timetable.next_run(f"cron(0 10 {field} *)", NOW)


def test_rates():
    assert timetable.rate("rate(1 hour)") == dt.timedelta(hours=1)
    assert timetable.rate("rate(5 minutes)") == dt.timedelta(minutes=5)
    assert timetable.rate("cron(0 10 * * ? *)") is None
    for wrong in ("rate(1 hours)", "rate(2 day)", "rate(0 minutes)"):
        with pytest.raises(ValueError):  # noqa: PT011
            timetable.rate(wrong)
