"""When a schedule fires: Unix's cron as EventBridge's, rates, time zones."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import islice, takewhile

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from embed_job.errors import SpecError
from embed_job.spec.schedule import ScheduleSpec
from launcher.schedule.calendar import read_calendar
from launcher.schedule.cron import eventbridge_cron
from launcher.schedule.expression import expression_of
from launcher.schedule.fields import CronError


def of(**keys: object) -> ScheduleSpec:
    return ScheduleSpec.model_validate(keys)


def times(section: ScheduleSpec, after: str, count: int) -> list[str]:
    """The next times after a moment of UTC, in UTC."""
    at = datetime.fromisoformat(after).replace(tzinfo=UTC)
    found = expression_of(section).firings(at, since=at)
    return [f"{moment:%Y-%m-%d %H:%M}" for moment in islice(found, count)]


@pytest.mark.parametrize(
    ("unix", "ours"),
    [
        ("0 3 * * *", "0 3 * * ? *"),
        ("*/15 * * * *", "0/15 * * * ? *"),
        ("5-7 8-17/2 * * *", "5-7 8,10,12,14,16 * * ? *"),
        ("0 0 1,15 * *", "0 0 1,15 * ? *"),
        ("0 0 */2 * *", "0 0 1/2 * ? *"),
        # Sunday is 0 and 7 there, 1 here.
        ("0 3 * * 0", "0 3 ? * SUN *"),
        ("0 3 * * 7", "0 3 ? * SUN *"),
        ("0 3 * * 1", "0 3 ? * MON *"),
        ("0 3 * * 1-5", "0 3 ? * MON,TUE,WED,THU,FRI *"),
        ("0 3 * * 5-7", "0 3 ? * SUN,FRI,SAT *"),
        ("0 3 * * mon-fri/2", "0 3 ? * MON,WED,FRI *"),
        ("0 3 * * 0-6", "0 3 * * ? *"),
        ("0 3 * * */2", "0 3 ? * SUN,TUE,THU,SAT *"),
        ("0 3 * jan-mar,DEC *", "0 3 * 1-3,12 ? *"),
        ("0 3 */1 * 1", "0 3 ? * MON *"),
        # Either is enough there, and one of them is every day.
        ("0 3 1-31 * 1", "0 3 * * ? *"),
        ("@daily", "0 0 * * ? *"),
        ("@weekly", "0 0 ? * SUN *"),
        ("  0\t3 * *  * ", "0 3 * * ? *"),
        ("cron(0 3 ? * 6#3 *)", "0 3 ? * 6#3 *"),
    ],
)
def test_five_fields_as_six(unix: str, ours: str) -> None:
    assert eventbridge_cron(unix) == f"cron({ours})"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("0 3 1 * 1", "either-or"),
        ("0 3 */2 * 1", "must both hold"),
        ("0 3 * * * *", "write cron("),
        ("0 3 * *", "4 fields"),
        ("60 3 * * *", "no minute"),
        ("0 24 * * *", "no hour"),
        ("0 3 0 * *", "no day of the month"),
        ("0 3 * 13 *", "no month"),
        ("0 3 * * 8", "no day of the week"),
        ("0 3 L * *", "EventBridge's"),
        ("0 3 ? * 1", "EventBridge's"),
        ("0 3 * * 1#2", "EventBridge's"),
        ("0 3 * foo *", "no month"),
        ("*/0 3 * * *", "step of 0"),
        ("9-5 3 * * *", "ends before it begins"),
        ("1,,2 3 * * *", "no minute"),
        ("@reboot", "no time"),
        ("@hourli", "none of @yearly"),
        ("cron(0 3 * * ? *", "bracket"),
        ("now", "1 field,"),
        ("", "0 fields"),
        ("rate(1 day)", "set schedule.rate"),
    ],
)
def test_what_can_not_be_said_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(CronError) as refused:
        eventbridge_cron(text)
    assert why in str(refused.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("cron(0 3 * * ?)", "5 fields"),
        ("cron(0 3 * * * *)", "needs ?"),
        ("cron(0 3 ? * ? *)", "needs ?"),
        ("cron(0 3 45 * ? *)", "day of the month"),
        ("cron(0 3 ? * 8L *)", "day of the week"),
        ("cron(0 3 ? * 0 *)", "day of the week"),
        ("cron(0 3 40W * ? *)", "day of the month"),
        ("cron(0 3 * * ? 1969)", "year"),
    ],
)
def test_six_fields_that_eventbridge_would_refuse(text: str, why: str) -> None:
    with pytest.raises(CronError) as refused:
        read_calendar(text)
    assert why in str(refused.value)


def test_days_that_only_eventbridge_can_say() -> None:
    last_friday = of(cron="cron(0 10 ? * 6L *)")
    assert times(last_friday, "2026-03-28", 2) == ["2026-04-24 10:00", "2026-05-29 10:00"]
    third = of(cron="cron(0 10 ? * FRI#3 *)")
    assert times(third, "2026-03-28", 2) == ["2026-04-17 10:00", "2026-05-15 10:00"]
    fifth = of(cron="cron(0 10 ? * 6#5 *)")
    assert times(fifth, "2026-03-01", 2) == ["2026-05-29 10:00", "2026-07-31 10:00"]
    nearest = of(cron="cron(0 10 15W * ? *)")
    assert times(nearest, "2026-03-01", 3) == [
        "2026-03-16 10:00", "2026-04-15 10:00", "2026-05-15 10:00",
    ]  # fmt: skip
    first = of(cron="cron(0 10 1W 8 ? *)")  # the 1st is a Saturday, and July is no month of it
    assert times(first, "2026-03-01", 1) == ["2026-08-03 10:00"]
    over_the_weekend = of(cron="cron(0 0 ? * FRI-MON *)")
    assert times(over_the_weekend, "2026-03-25 12:00", 4) == [
        "2026-03-27 00:00", "2026-03-28 00:00", "2026-03-29 00:00", "2026-03-30 00:00",
    ]  # fmt: skip
    assert times(of(cron="cron(0 0 L 2 ? *)"), "2026-03-01", 2) == [
        "2027-02-28 00:00", "2028-02-29 00:00",
    ]  # fmt: skip
    assert times(of(cron="cron(0 0 1 1 ? 2031)"), "2026-03-01", 2) == ["2031-01-01 00:00"]
    assert times(of(cron="0 0 29 2 *"), "2026-03-01", 1) == ["2028-02-29 00:00"]
    assert times(of(cron="0 0 30 2 *"), "2026-03-01", 1) == []


def test_a_clock_put_forward_leaves_out_and_one_put_back_does_not_repeat() -> None:
    """In Berlin 2026-03-29 has no 02:30, and 2026-10-25 has two."""
    night = of(cron="30 2 * * *", timezone="Europe/Berlin")
    assert times(night, "2026-03-27 12:00", 3) == [
        "2026-03-28 01:30", "2026-03-30 00:30", "2026-03-31 00:30",
    ]  # fmt: skip
    assert times(night, "2026-10-24 12:00", 2) == ["2026-10-25 00:30", "2026-10-26 01:30"]


@pytest.mark.parametrize(
    ("given", "text", "every"),
    [
        ("1 day", "rate(1 day)", timedelta(days=1)),
        ("1 days", "rate(1 day)", timedelta(days=1)),
        ("12 hour", "rate(12 hours)", timedelta(hours=12)),
        ("rate(90 minutes)", "rate(90 minutes)", timedelta(minutes=90)),
    ],
)
def test_rates(given: str, text: str, every: timedelta) -> None:
    found = expression_of(of(rate=given))
    assert (found.text, found.every) == (text, every)
    since = datetime(2026, 1, 1, tzinfo=UTC)
    later = since + 5 * every + timedelta(seconds=1)
    assert next(found.firings(later, since=since)) == since + 6 * every


def test_the_next_times_of_the_longest_rate_have_a_date() -> None:
    assert len(times(of(rate="99999 days"), "2026-03-28", 3)) == 3


@pytest.mark.parametrize(
    "rate", ["0 days", "2 weeks", "1.5 days", "-1 day", "day", "1 day 2 hours", "100000 days"]
)
def test_what_is_no_rate(rate: str) -> None:
    with pytest.raises(SpecError):
        expression_of(of(rate=rate))


@pytest.mark.parametrize("zone", ["Europe/Berli", "../etc/passwd", "Europe", "/etc/localtime"])
def test_what_is_no_time_zone(zone: str) -> None:
    with pytest.raises(SpecError) as refused:
        expression_of(of(cron="0 3 * * *", timezone=zone))
    assert refused.value.where == "schedule.timezone"


@pytest.mark.parametrize("keys", [{}, {"cron": "0 3 * * *", "rate": "1 day"}])
def test_either_cron_or_rate(keys: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="either cron or rate"):
        of(**keys)


def fields(low: int, high: int) -> st.SearchStrategy[str]:
    """A field of a crontab: stars, numbers, ranges, steps and lists."""
    number = st.integers(low, high)
    pair = st.tuples(number, number).map(sorted)
    step = st.integers(1, 9)
    item = st.one_of(
        st.just("*"),
        number.map(str),
        step.map(lambda by: f"*/{by}"),
        pair.map(lambda ends: f"{ends[0]}-{ends[1]}"),
        st.builds(lambda ends, by: f"{ends[0]}-{ends[1]}/{by}", pair, step),
    )
    return st.lists(item, min_size=1, max_size=3).map(",".join)


def in_crontab(text: str, low: int, high: int) -> set[int]:
    """Read apart from the code under test."""
    found: set[int] = set()
    for item in text.split(","):
        span, _, step = item.partition("/")
        first, _, last = span.partition("-")
        ends = (low, high) if span == "*" else (int(first), int(last or first))
        found |= set(range(ends[0], ends[1] + 1, int(step or 1)))
    return found


@settings(max_examples=150, deadline=None)
@given(fields(0, 59), fields(0, 23), fields(1, 31), fields(1, 12), fields(0, 7))
def test_it_fires_when_unix_would(
    minute: str, hour: str, day: str, month: str, weekday: str
) -> None:
    """Against cron's own rule, day by day over two years."""
    try:
        ours = read_calendar(eventbridge_cron(f"{minute} {hour} {day} {month} {weekday}"))
    except CronError as refused:
        assume("can't say" not in str(refused))
        raise
    days = in_crontab(day, 1, 31)
    weekdays = {value % 7 for value in in_crontab(weekday, 0, 7)}
    both = day.startswith("*") or weekday.startswith("*")
    first, last = date(2027, 1, 1), date(2028, 12, 31)
    every = (first + timedelta(days=at) for at in range((last - first).days + 1))
    wanted = [
        one
        for one in every
        if one.month in in_crontab(month, 1, 12)
        and (all if both else any)([one.day in days, one.isoweekday() % 7 in weekdays])
    ]
    start = datetime(2026, 12, 31, 23, 59, tzinfo=UTC)
    clock = [(one, other) for one in in_crontab(hour, 0, 23) for other in in_crontab(minute, 0, 59)]
    near = wanted[:3]
    fired = list(islice(ours.firings(start, UTC), len(near) * len(clock)))
    assert fired == [
        datetime(on.year, on.month, on.day, one, other, tzinfo=UTC)
        for on in near
        for one, other in sorted(clock)
    ]
    coarse = read_calendar(eventbridge_cron(f"0 0 {day} {month} {weekday}"))
    until = takewhile(lambda at: at.date() <= last, coarse.firings(start, UTC))
    assert [at.date() for at in until] == wanted
