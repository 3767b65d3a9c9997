"""When a scheduled action of Application Auto Scaling is due: `at`, `rate` and `cron`.

Source: Application Auto Scaling User Guide, scheduled-scaling-using-cron-expressions; API
Reference, PutScheduledAction.
"""

import datetime as dt
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from byoc.local import timetable
from byoc.local.errors import validation


@dataclass(frozen=True)
class Schedule:
    """An expression that has been understood; `begins` is what a rate is counted from."""

    expression: str
    zone: str
    begins: dt.datetime

    def after(self, moment: dt.datetime) -> dt.datetime | None:
        """The first time after `moment`, or None when there is none."""
        if period := timetable.rate(self.expression):
            return self.begins + period * max(1, (moment - self.begins) // period + 1)
        return timetable.next_run(self.expression, moment, self.zone)


def parse(expression: str, zone: str, begins: dt.datetime) -> Schedule:
    """Understand an expression; raises AWSError for one that is none.

    `zone` is an IANA name, which rates don't use; `begins` says from when a rate counts.
    """
    try:
        ZoneInfo(zone)
    except (ValueError, OSError, LookupError):
        raise validation(f"Timezone {zone} is not valid.") from None
    schedule = Schedule(expression, zone, begins)
    try:
        schedule.after(begins)
    except (ValueError, OverflowError):
        raise validation(f"Schedule expression is not valid: {expression}.") from None
    return schedule
