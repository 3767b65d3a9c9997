"""When a scheduled action is due: `at`, `rate` and `cron` expressions.

Source: Application Auto Scaling User Guide, scheduled-scaling-using-cron-expressions; API
Reference, PutScheduledAction.
"""

import calendar
import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from byoc.local.errors import AWSError, not_implemented, validation

AT = re.compile(r"at\((\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\)")
RATE = re.compile(r"rate\(([1-9]\d{0,8}) (minute|hour|day)s?\)")
CRON = re.compile(r"cron\((\S+) (\S+) (\S+) (\S+) (\S+) (\S+)\)")
FIELDS = ((0, 59), (0, 23), (1, 31), (1, 12), (1, 7), (1970, 2199))  # minutes … year
MONTHS = {name.upper(): i for i, name in enumerate(calendar.month_abbr) if name}
DAYS = {name: i for i, name in enumerate(("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"), 1)}
AHEAD = 366 * 5  # days that are looked through for the next time


@dataclass(frozen=True)
class Schedule:
    """An expression that has been understood; `begins` is what a rate is counted from."""

    begins: dt.datetime
    zone: dt.tzinfo
    at: dt.datetime | None = None
    rate: dt.timedelta | None = None
    cron: tuple[frozenset[int], ...] = ()

    def after(self, moment: dt.datetime) -> dt.datetime | None:
        """The first time after `moment`, or None when there is none."""
        if self.at is not None:
            return self.at if self.at > moment else None
        if self.rate is not None:
            return self.begins + self.rate * max(1, (moment - self.begins) // self.rate + 1)
        return self._by_cron(moment.astimezone(self.zone))

    def _by_cron(self, moment: dt.datetime) -> dt.datetime | None:
        minutes, hours, dates, months, weekdays, years = self.cron
        for ahead in range(AHEAD):
            day = moment.date() + dt.timedelta(ahead)
            if (
                day.year not in years
                or day.month not in months
                or day.day not in dates
                or day.isoweekday() % 7 + 1 not in weekdays
            ):
                continue
            for hour in sorted(hours):
                for minute in sorted(minutes):
                    time = dt.datetime.combine(day, dt.time(hour, minute), self.zone)
                    if time > moment:
                        return time.astimezone(dt.UTC)
        return None


def parse(expression: str, zone: str, begins: dt.datetime) -> Schedule:
    """Understand an expression; raises AWSError for one that is none.

    `zone` is an IANA name, which rates don't use; `begins` says from when a rate counts.
    """
    try:
        where = ZoneInfo(zone)
    except (ValueError, OSError, LookupError):
        raise validation(f"Timezone {zone} is not valid.") from None
    if match := AT.fullmatch(expression):
        try:
            moment = dt.datetime.fromisoformat(match[1]).replace(tzinfo=where)
        except ValueError:
            raise _invalid(expression) from None
        return Schedule(begins, where, at=moment.astimezone(dt.UTC))
    if match := RATE.fullmatch(expression):
        return Schedule(begins, where, rate=dt.timedelta(**{f"{match[2]}s": int(match[1])}))
    if match := CRON.fullmatch(expression):
        names: tuple[Mapping[str, int], ...] = ({}, {}, {}, MONTHS, DAYS, {})
        sets = tuple(_field(*given) for given in zip(match.groups(), FIELDS, names, strict=True))
        return Schedule(begins, where, cron=sets)
    raise _invalid(expression)


def _field(text: str, limits: tuple[int, int], names: Mapping[str, int]) -> frozenset[int]:
    """The numbers that one field of a cron expression means."""
    if re.search(r"\d?[LW]$|#", text) and text not in names:
        raise not_implemented(f"PutScheduledAction with L, W or # in a cron expression: {text}")
    found: set[int] = set()
    for part in text.upper().split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        if first in ("*", "?"):
            low, high = limits
        else:
            low = _number(first, limits, names)
            high = _number(last, limits, names) if last else limits[1] if step else low
        found |= set(range(low, high + 1, _number(step, (1, limits[1]), {}) if step else 1))
    return frozenset(found)


def _number(text: str, limits: tuple[int, int], names: Mapping[str, int]) -> int:
    value = names.get(text, int(text) if text.isdecimal() else -1)
    if not limits[0] <= value <= limits[1]:
        raise _invalid(text)
    return value


def _invalid(expression: str) -> AWSError:
    return validation(f"Schedule expression is not valid: {expression}.")
