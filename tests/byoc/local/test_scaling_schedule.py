"""When scheduled actions are due."""

import datetime as dt

import pytest

from byoc.local import scaling_schedule
from byoc.local.errors import AWSError

BEGIN = dt.datetime(2026, 11, 23, 6, 30, 15, tzinfo=dt.UTC)  # a Monday


@pytest.mark.parametrize(
    ("expression", "zone", "expected"),
    [
        ("at(2026-11-23T08:00:00)", "UTC", "2026-11-23T08:00:00"),
        ("at(2026-11-23T08:00:00)", "Europe/Zurich", "2026-11-23T07:00:00"),
        ("at(2026-11-23T06:30:15)", "UTC", None),
        ("rate(5 minutes)", "UTC", "2026-11-23T06:35:15"),
        ("rate(1 day)", "UTC", "2026-11-24T06:30:15"),
        ("cron(0/15 * * * ? *)", "UTC", "2026-11-23T06:45:00"),
        ("cron(0 8 * * ? *)", "UTC", "2026-11-23T08:00:00"),
        ("cron(0 8 * * ? *)", "America/New_York", "2026-11-23T13:00:00"),
        ("cron(30 6 * * ? *)", "UTC", "2026-11-24T06:30:00"),
        ("cron(0 9 ? * SAT,SUN *)", "UTC", "2026-11-28T09:00:00"),
        ("cron(0 9 ? * 2-6 *)", "UTC", "2026-11-23T09:00:00"),
        ("cron(0 0 1 JAN ? 2028)", "UTC", "2028-01-01T00:00:00"),
        ("cron(0 0 1 1 ? 2020)", "UTC", None),
    ],
)
def test_the_next_time(expression, zone, expected):
    found = scaling_schedule.parse(expression, zone, BEGIN).after(BEGIN)
    assert (found and found.astimezone(dt.UTC).replace(tzinfo=None).isoformat()) == expected


def test_a_rate_is_counted_from_its_beginning():
    schedule = scaling_schedule.parse("rate(2 hours)", "UTC", BEGIN)
    assert schedule.after(BEGIN + dt.timedelta(hours=5)) == BEGIN + dt.timedelta(hours=6)
    assert schedule.after(BEGIN - dt.timedelta(hours=5)) == BEGIN + dt.timedelta(hours=2)


@pytest.mark.parametrize(
    ("expression", "zone"),
    [
        ("rate(0 minutes)", "UTC"),
        ("cron(* * * *)", "UTC"),
        ("cron(60 * * * ? *)", "UTC"),
        ("cron(a * * * ? *)", "UTC"),
        ("rate(5 minutes)", "Nowhere/None"),
        ("rate(5 minutes)", "../etc/passwd"),
    ],
)
def test_what_is_no_schedule(expression, zone):
    with pytest.raises(AWSError) as caught:
        scaling_schedule.parse(expression, zone, BEGIN)
    assert caught.value.code == "ValidationException"


@pytest.mark.parametrize("field", ["15W", "6#3"])
def test_what_is_not_done(field):
    with pytest.raises(AWSError) as caught:
        scaling_schedule.parse(f"cron(0 8 {field} * ? *)", "UTC", BEGIN)
    assert caught.value.code == "NotImplementedException"
