"""What goes into a delivery and what comes out of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class SplitRows:
    """Rows of one split, of the Parquet output's columns. split: a name of theirs, for one at a
    time."""

    split: str
    rows: Iterable[pa.RecordBatch]


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that can't be in the index. status: the server's; 0: refused before it was sent.

    reason: one word of ours, or the server's type of error and its explanation.
    """

    id: str
    doc_id: str
    reason: str
    status: int


@dataclass(frozen=True, slots=True)
class Delivered:
    """A split of which every row was acknowledged or refused: read = written + rejected."""

    split: str
    read: int
    written: int
    rejected: int
    refused: tuple[Refused, ...]


@dataclass(frozen=True, slots=True)
class DeliveryStats:
    """What a delivery did so far.

    requests: that were answered or failed; retries: those of them that sent rows again.
    throttled: how often a row was answered 429. ambiguous: requests after which nobody knew
    whether their rows were applied. rows: that were acknowledged. bytes: of request bodies.
    peak_bytes: most that was encoded but not yet acknowledged. seconds: since the first rows.
    concurrency, bulk_bytes: the pace as it is now. last_reason: the last that was given for rows
    that have to go again.
    """

    requests: int = 0
    retries: int = 0
    throttled: int = 0
    ambiguous: int = 0
    rows: int = 0
    bytes: int = 0
    peak_bytes: int = 0
    seconds: float = 0.0
    concurrency: int = 0
    bulk_bytes: int = 0
    last_reason: str | None = None
