"""EventBridge's ``cron(…)`` read as it reads it: on which days and when it fires."""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from embed_job.cli.plural import plural
from launcher.schedule.cron import DAY, HOUR, MINUTE, MONTH
from launcher.schedule.fields import DAYS, CronError, Field

YEAR = Field("year", 1970, 2199)
WEEKDAY = Field("day of the week", 1, 7, DAYS, 1, wraps=True)
_FIELDS = 6
_YEARS_AHEAD = 9
"""Eight years lie between two 29ths of February at most."""
_NEAREST = re.compile(r"(\d{1,2})W", re.I)
_LAST = re.compile(r"(\w+)L", re.I | re.ASCII)
_NTH = re.compile(r"(\w+)#([1-5])", re.ASCII)


@dataclass(frozen=True, slots=True)
class Calendar:
    """The days and times of an expression. days, weekdays: as they are written, one of them ``?``.

    Minutes, hours: in order.
    """

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: str
    months: frozenset[int]
    weekdays: str
    years: frozenset[int]

    def firings(self, after: datetime, zone: tzinfo) -> Iterator[datetime]:
        """When it fires after a moment, in order, in UTC; endless but for its years.

        As EventBridge Scheduler has it, a time that a clock put forward leaves out is left out,
        and one that a clock put back has twice counts once.
        """
        today = after.astimezone(zone).date()
        for day in self._days_from(today):
            for hour in self.hours:
                for minute in self.minutes:
                    local = datetime.combine(day, time(hour, minute), zone)
                    moment = local.astimezone(UTC)
                    back = moment.astimezone(zone)
                    exists = (back.hour, back.minute) == (hour, minute)
                    if exists and moment > after:
                        yield moment

    def _days_from(self, first: date) -> Iterator[date]:
        years = [year for year in sorted(self.years) if year >= first.year][:_YEARS_AHEAD]
        for year in years:
            for month in sorted(self.months):
                for day in sorted(self._days_of(year, month)):
                    found = date(year, month, day)
                    if found >= first:
                        yield found

    def _days_of(self, year: int, month: int) -> set[int]:
        if self.weekdays == "?":
            return {day for item in self.days.split(",") for day in _of_month(item, year, month)}
        return {day for item in self.weekdays.split(",") for day in _of_week(item, year, month)}


def read_calendar(expression: str) -> Calendar:
    """The calendar of ``cron(…)``. Raises CronError where EventBridge would refuse it, or where
    it never fires."""
    fields = expression.removeprefix("cron(").removesuffix(")").split()
    if len(fields) != _FIELDS:
        raise CronError(
            f"has {plural(len(fields), 'field')}, and cron(…) has six: minute, hour, day, month, "
            "day of the week, year"
        )
    minute, hour, day, month, weekday, year = fields
    if (day == "?") == (weekday == "?"):
        raise CronError("needs ? as either day of the month or day of the week, and in one alone")
    found = Calendar(
        minutes=tuple(sorted(MINUTE.values(minute))),
        hours=tuple(sorted(HOUR.values(hour))),
        days=day,
        months=MONTH.values(month),
        weekdays=weekday,
        years=YEAR.values(year),
    )
    sample = 2028  # a leap year: what is wrong with a day shows in any month
    for number in (1, 2):
        found._days_of(sample, number)
    return found


def _of_month(item: str, year: int, month: int) -> Iterator[int]:
    last = calendar.monthrange(year, month)[1]
    nearest = _NEAREST.fullmatch(item)
    if item.upper() == "L":
        yield last
    elif item.upper() == "LW":
        yield _nearest_weekday(year, month, last, last)
    elif nearest:
        wanted = DAY.value(nearest[1])
        if wanted <= last:
            yield _nearest_weekday(year, month, wanted, last)
    else:
        yield from (day for day in DAY.values(item) if day <= last)


def _nearest_weekday(year: int, month: int, day: int, last: int) -> int:
    """The weekday nearest to a day, within its month."""
    weekday = date(year, month, day).weekday()
    if weekday == calendar.SATURDAY:
        return day - 1 if day > 1 else day + 2
    if weekday == calendar.SUNDAY:
        return day + 1 if day < last else day - 2
    return day


def _of_week(item: str, year: int, month: int) -> Iterator[int]:
    nth, final = _NTH.fullmatch(item), _LAST.fullmatch(item)
    if nth:
        days = _days_on(WEEKDAY.value(nth[1]), year, month)
        yield from days[int(nth[2]) - 1 : int(nth[2])]
    elif final:
        yield _days_on(WEEKDAY.value(final[1]), year, month)[-1]
    else:
        values = WEEKDAY.values("SAT" if item.upper() == "L" else item)
        for value in values:
            yield from _days_on(value, year, month)


def _days_on(weekday: int, year: int, month: int) -> list[int]:
    """Days of a month on a weekday: 1 for Sunday to 7 for Saturday."""
    first, last = date(year, month, 1), calendar.monthrange(year, month)[1]
    ahead = (weekday - 2 - first.weekday()) % 7
    return [(first + timedelta(days=at)).day for at in range(ahead, last, 7)]
