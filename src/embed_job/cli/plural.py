"""Counts in messages."""

from __future__ import annotations


def plural(count: int, noun: str) -> str:
    """As in `1 row` and `2,000 rows`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
