"""Find the one document of a split that kills whoever embeds it, by halving."""

from __future__ import annotations

from collections.abc import Generator

Probe = tuple[int, int]
Search = Generator[Probe, bool, int | None]


def find_poison(records: int) -> Search:
    """Yields ranges [first, last) of ordinals to probe and is sent whether the probe died.

    Returns the first ordinal that dies alone, in at most ceil(log2(records)) + 1 probes; None
    where the death can't be pinned on one document (it came from the machine, or only from
    several together).
    """
    first, last = 0, records
    while last - first > 1:
        middle = (first + last) // 2
        if (yield first, middle):
            last = middle
        else:
            first = middle
    if records and (yield first, last):
        return first
    return None
