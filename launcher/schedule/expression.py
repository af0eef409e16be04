"""When a schedule fires: the spec's section as EventBridge's expression, and its next times."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count, islice, pairwise

from embed_job.errors import SpecError
from embed_job.spec.schedule import ScheduleSpec
from launcher.schedule.calendar import read_calendar
from launcher.schedule.cron import eventbridge_cron
from launcher.schedule.fields import CronError

MAX_EXPRESSION = 256
_RATE = re.compile(r"(?:rate\()?\s*([1-9]\d{0,4})\s+(minute|hour|day)s?\s*\)?", re.I)
"""Five digits: of days, 273 years, so that the next times have a date."""
_CRON_HINT = 'Five fields as in a crontab ("0 3 * * *"), or all six of EventBridge in cron(…).'


@dataclass(frozen=True, slots=True)
class Expression:
    """text: as EventBridge takes it. every: of a rate; None: a cron, read in `zone`."""

    text: str
    zone: zoneinfo.ZoneInfo
    every: timedelta | None

    def firings(self, after: datetime, *, since: datetime) -> Iterator[datetime]:
        """The next times after a moment, in UTC. since: when the schedule was stored, from which
        a rate is counted; the service may be some seconds off it."""
        if self.every is None:
            yield from read_calendar(self.text).firings(after, self.zone)
            return
        first = max(0, (after - since) // self.every + 1)
        for number in count(first):
            yield since + number * self.every

    def shortest(self, after: datetime) -> timedelta | None:
        """The least time between two of the next firings; None where there are not two."""
        if self.every is not None:
            return self.every
        times = list(islice(self.firings(after, since=after), 25))
        return min((later - one for one, later in pairwise(times)), default=None)


def expression_of(section: ScheduleSpec) -> Expression:
    """The expression of a spec's section. Raises SpecError, which names the key and the reason."""
    zone = _zone(section.timezone)
    if section.cron is None:
        return _rate(section.rate or "", zone)
    try:
        text = eventbridge_cron(section.cron)
        read_calendar(text)
    except CronError as error:
        raise SpecError("schedule.cron", str(error), _CRON_HINT) from None
    if len(text) > MAX_EXPRESSION:
        what = f"is {len(text)} characters in EventBridge's form, which takes {MAX_EXPRESSION}"
        raise SpecError("schedule.cron", what, "Name fewer times.")
    return Expression(text, zone, None)


def _rate(text: str, zone: zoneinfo.ZoneInfo) -> Expression:
    found = _RATE.fullmatch(text.strip())
    if found is None:
        what = f"'{text}' is no rate"
        raise SpecError("schedule.rate", what, "A number of minutes, hours or days, as in 1 day.")
    number, unit = int(found[1]), found[2].lower()
    plural = "" if number == 1 else "s"
    return Expression(f"rate({number} {unit}{plural})", zone, timedelta(**{f"{unit}s": number}))


def _zone(name: str) -> zoneinfo.ZoneInfo:
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        hint = "Take a name as in Europe/Berlin or UTC."
        if not zoneinfo.available_timezones():
            hint = "This machine knows no time zones: pip install tzdata."
        raise SpecError("schedule.timezone", f"'{name}' is no time zone", hint) from None
