"""When a schedule is due: rate, cron and at expressions.

Source: EventBridge User Guide, eb-cron-expressions, eb-rate-expressions; EventBridge Scheduler
User Guide, schedule-types.
"""

import calendar
import datetime as dt
import itertools
import re
from zoneinfo import ZoneInfo

from byoc.local.errors import not_implemented

RATE = re.compile(r"rate\((\d+) (minute|hour|day)(s?)\)")
CRON = re.compile(r"cron\(([^ ]+) ([^ ]+) ([^ ]+) ([^ ]+) ([^ ]+) ([^ ]+)\)")
AT = re.compile(r"at\((\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\)")
MONTHS = {name.upper(): i for i, name in enumerate(calendar.month_abbr) if name}
DAYS = {name: i for i, name in enumerate(("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"), 1)}
YEARS = range(1970, 2200)
HORIZON = 366 * 8  # days that are looked at: a 29 February comes within


def rate(expression: str) -> dt.timedelta | None:
    """The time between two runs of a rate expression; None for another kind of expression.

    Raises ValueError for one of zero, or whose number and unit do not agree.
    """
    match = RATE.fullmatch(expression)
    if match is None:
        return None
    number = int(match[1])
    if number < 1 or (number == 1) == bool(match[3]):
        raise ValueError(expression)
    return dt.timedelta(**{f"{match[2]}s": number})


def next_run(expression: str, after: dt.datetime, zone: str = "UTC") -> dt.datetime | None:
    """The first run of a cron or at expression later than `after`, in UTC; None: never again.

    Raises ValueError for an expression that is none.
    """
    local = ZoneInfo(zone)
    if match := AT.fullmatch(expression):
        moment = dt.datetime.fromisoformat(match[1]).replace(tzinfo=local).astimezone(dt.UTC)
        return moment if moment > after else None
    if not (match := CRON.fullmatch(expression)):
        raise ValueError(expression)
    minutes, hours, months, years = (
        _values(match[1], range(60)),
        _values(match[2], range(24)),
        _values(match[4], range(1, 13), MONTHS),
        _values(match[6], YEARS),
    )
    if (match[3] == "?") == (match[5] == "?"):
        raise ValueError(expression)
    weekdays = _values(match[5], range(1, 8), DAYS)
    day = after.astimezone(local).date()
    for _ in range(HORIZON):
        of_month = _days(match[3], day)
        weekday = day.isoweekday() % 7 + 1
        fits = day.month in months and day.year in years
        if fits and day.day in of_month and weekday in weekdays:
            for hour, minute in itertools.product(sorted(hours), sorted(minutes)):
                moment = dt.datetime.combine(day, dt.time(hour, minute), local)
                if moment.astimezone(dt.UTC) > after:
                    return moment.astimezone(dt.UTC)
        day += dt.timedelta(days=1)
    return None


def _days(field: str, day: dt.date) -> set[int]:
    last = calendar.monthrange(day.year, day.month)[1]
    return {last} if field == "L" else _values(field, range(1, 32))


def _values(field: str, allowed: range, names: dict[str, int] | None = None) -> set[int]:
    """The numbers of one field: `*`, `?`, lists, ranges, steps and names."""
    if field in ("*", "?"):
        return set(allowed)
    found: set[int] = set()
    for part in field.upper().split(","):
        whole, _, step = part.partition("/")
        first, _, last = whole.partition("-")
        if re.search(r"[LW#]", re.sub("|".join(names or ["!"]), "", part)):
            raise not_implemented("schedules with L, W or # in a cron expression")
        begin = allowed[0] if first == "*" else _number(first, names)
        end = _number(last, names) if last else allowed[-1] if step or first == "*" else begin
        if begin not in allowed or end not in allowed or begin > end:
            raise ValueError(field)
        found |= set(range(begin, end + 1, int(step) if step else 1))
    return found


def _number(text: str, names: dict[str, int] | None) -> int:
    return (names or {}).get(text) or int(text)
