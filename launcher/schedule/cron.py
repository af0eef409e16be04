"""Five fields of Unix's cron as EventBridge's six, where they can be said in these."""

from __future__ import annotations

from embed_job.cli.plural import plural
from launcher.schedule.fields import DAYS, MONTHS, CronError, Field, as_field

MINUTE = Field("minute", 0, 59)
HOUR = Field("hour", 0, 23)
DAY = Field("day of the month", 1, 31)
MONTH = Field("month", 1, 12, MONTHS, 1)
_WEEKDAY = Field("day of the week", 0, 7, DAYS, 0)
"""Unix's: 0 and 7 are Sunday. EventBridge's begin with 1; names mean the same in both."""

_NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_FIELDS = 5
_OURS_ALONE = "?LW#"


def eventbridge_cron(text: str) -> str:
    """The expression ``cron(…)`` of EventBridge for what stands in a crontab.

    What is ``cron(…)`` already is taken as it is. Raises CronError where the text is no cron, or
    where its days can't be said in six fields.
    """
    given = " ".join(text.split())
    if given.lower().startswith("cron("):
        if not given.endswith(")"):
            raise CronError("lacks the bracket at its end")
        return f"cron({given[len('cron(') : -1].strip()})"
    fields = _NICKNAMES.get(given.lower(), given).split()
    if len(fields) != _FIELDS:
        raise CronError(_not_five(given, len(fields)))
    minute, hour, day, month, weekday = fields
    for part in fields:
        _refuse_foreign(part)
    days, weekdays = _days(day, weekday)
    said = (
        as_field(MINUTE.values(minute), MINUTE),
        as_field(HOUR.values(hour), HOUR),
        days,
        as_field(MONTH.values(month), MONTH),
        weekdays,
        "*",
    )
    return f"cron({' '.join(said)})"


def _days(day: str, weekday: str) -> tuple[str, str]:
    """Day of the month and day of the week: EventBridge takes one of them, the other is ``?``.

    In Unix both must hold where one of them begins with a star; else either is enough.
    """
    days = DAY.values(day)
    weekdays = {value % 7 for value in _WEEKDAY.values(weekday)}
    any_day, any_weekday = days == DAY.everything, len(weekdays) == len(DAYS)
    both = day.startswith("*") or weekday.startswith("*")
    if any_weekday and (both or any_day):
        return as_field(days, DAY), "?"
    if any_day and both:
        return "?", ",".join(DAYS[value] for value in sorted(weekdays))
    if any_day or any_weekday:
        return "*", "?"
    what = "must both hold" if both else "are an either-or"
    raise CronError(
        f"day of the month '{day}' and day of the week '{weekday}' {what} in Unix's cron, which "
        "EventBridge can't say in one schedule"
    )


def _refuse_foreign(part: str) -> None:
    # Letters of names (JUL, WED) aside, these mean something to EventBridge alone.
    plain = part.upper()
    for name in (*MONTHS, *DAYS):
        plain = plain.replace(name, "")
    if any(letter in plain for letter in _OURS_ALONE):
        raise CronError(f"'{part}' is EventBridge's: write all six fields as cron(0 3 * * ? *)")


def _not_five(given: str, count: int) -> str:
    if given.lower() == "@reboot":
        return "@reboot is no time"
    if given.startswith("@"):
        return f"'{given}' is none of {', '.join(_NICKNAMES)}"
    if given.lower().startswith("rate("):
        return "is a rate, which is another key: set schedule.rate, or give --rate"
    if count == _FIELDS + 1:
        return f"has six fields: where they are EventBridge's, write cron({given})"
    has = f"has {plural(count, 'field')}, and cron has five"
    return f"{has}: minute, hour, day, month, day of the week"
