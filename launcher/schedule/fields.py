"""The fields of a cron expression as the values that they stand for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")

_ITEM = re.compile(r"(?P<first>\*|\w+)(?:-(?P<last>\w+))?(?:/(?P<step>\d+))?", re.ASCII)
_FEWEST_IN_A_RANGE = 3


class CronError(Exception):
    """What a cron expression can't be; the message is a clause without a full stop."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of cron. names: for values from `names_from` on, in capitals. wraps: whether a
    range may go over the end, as FRI-MON does."""

    title: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    names_from: int = 0
    wraps: bool = False

    @property
    def everything(self) -> frozenset[int]:
        return frozenset(range(self.low, self.high + 1))

    def values(self, text: str) -> frozenset[int]:
        """What a field of stars, numbers, names, ranges, steps and lists stands for.

        Raises CronError.
        """
        return frozenset(value for item in text.split(",") for value in self._item(item))

    def _item(self, text: str) -> Iterable[int]:
        found = _ITEM.fullmatch(text)
        if found is None:
            raise CronError(f"'{text}' is no {self.title}")
        if found["step"] is not None and not int(found["step"]):
            raise CronError(f"'{text}' has a step of 0")
        step = int(found["step"] or 1)
        if found["first"] == "*":
            if found["last"] is not None:
                raise CronError(f"'{text}' is no range")
            return range(self.low, self.high + 1, step)
        first = self.value(found["first"])
        if found["last"] is None:
            return range(first, self.high + 1, step) if found["step"] else (first,)
        last = self.value(found["last"])
        if first <= last:
            return range(first, last + 1, step)
        if not self.wraps:
            raise CronError(f"'{text}' is a range that ends before it begins")
        span = self.high - self.low + 1
        return (self.low + at % span for at in range(first - self.low, last + span, step))

    def value(self, text: str) -> int:
        """One number or name. Raises CronError."""
        if text.upper() in self.names:
            return self.names.index(text.upper()) + self.names_from
        if not text.isdecimal() or not self.low <= int(text) <= self.high:
            raise CronError(f"'{text}' is no {self.title} ({self.low} to {self.high})")
        return int(text)


def as_field(values: Iterable[int], field: Field) -> str:
    """Values in the form that every cron reads: a star, a step to the end, else a list of numbers
    and ranges."""
    wanted = sorted(values)
    if set(wanted) == field.everything:
        return "*"
    step = wanted[1] - wanted[0] if len(wanted) >= _FEWEST_IN_A_RANGE else 0
    if step > 1 and wanted == list(range(wanted[0], field.high + 1, step)):
        return f"{wanted[0]}/{step}"
    return ",".join(_runs(wanted))


def _runs(values: list[int]) -> Iterator[str]:
    for _, group in groupby(enumerate(values), key=lambda pair: pair[1] - pair[0]):
        run = [value for _, value in group]
        if len(run) < _FEWEST_IN_A_RANGE:
            yield from map(str, run)
        else:
            yield f"{run[0]}-{run[-1]}"
