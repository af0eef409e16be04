"""The rows of one attempt at a split: parts, and the ledger by which they are known again."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from embed_job.sink import Part, SplitSink
from embed_job.storage import Store, join

if TYPE_CHECKING:
    from embed_job.reuse.ledger import LedgerWriter


@dataclass(frozen=True, slots=True)
class Written:
    """What is durable. ledger: its name, None where there are no rows. origins: rows by the split
    that wrote them first."""

    parts: tuple[Part, ...]
    ledger: str | None
    origins: dict[str, int]


class SplitRows:
    """Takes rows with their entries in the ledger. Safe from several threads.

    ledger_name: below the output's folder. Guarantees are those of :class:`SplitSink`.
    """

    def __init__(
        self, sink: SplitSink, ledger: LedgerWriter, *, store: Store, folder: str, ledger_name: str
    ) -> None:
        self._sink = sink
        self._ledger = ledger
        self._store = store
        self._ledger_key = join(folder, ledger_name)
        self._ledger_name = ledger_name
        self._origins: Counter[str] = Counter()
        self._writing = threading.Lock()

    def write(self, rows: pa.RecordBatch, entries: pa.RecordBatch) -> None:
        """Take rows of the output's schema and, row by row, what the ledger tells of them."""
        if rows.num_rows == 0:
            return
        with self._writing:
            self._sink.write(rows)
            self._ledger.write(entries)
            for origin in pc.value_counts(rows.column("split")).to_pylist():
                self._origins[origin["values"]] += origin["counts"]

    def close(self) -> Written:
        """Make all rows durable, and the ledger."""
        parts = self._sink.close()
        ledger = self._ledger.close()
        if ledger is not None:
            self._store.upload(ledger, self._ledger_key)
        name = None if ledger is None else self._ledger_name
        return Written(tuple(parts), name, dict(sorted(self._origins.items())))

    def abort(self) -> None:
        """Drop what was written, as far as it can be reached; never raises."""
        self._sink.abort()
        with contextlib.suppress(Exception):
            self._ledger.abort()
            self._store.delete(self._ledger_key)
