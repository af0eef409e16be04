"""The documents that the last generation's replaced splits held, to compare the new ones with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import IntEnum
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embed_job.ids import Hashes
from embed_job.reuse.ledger import keys_of, numbers_of
from embed_job.reuse.sorted_table import Entries, SortedTable, mapped

HELD = np.dtype([("head", "<u8"), ("document", "<u8"), ("text", "<u8"), ("split", "<u4")])
"""head: hash of the id. document: head of the document's key, 0 where nobody knows it any more.
text: hash of its text. split: number of the split that held it."""

Texts = Callable[[npt.NDArray[np.intp]], Hashes]

_NAME = "before"
_ROWS_AT_A_TIME = 1 << 20


class Change(IntEnum):
    """What became of a document since the last generation. Of an id that was in several files,
    the greatest counts."""

    ADDED = 0
    TEXT = 1
    UNKNOWN = 2
    """The id was there, but a ledger is lost: with which text, nobody knows."""
    METADATA = 3
    UNCHANGED = 4


def held_table(folder: Path, *, documents: int) -> SortedTable:
    """Takes entries of HELD, for Before. documents: about how many there are going to be."""
    folder.mkdir(parents=True, exist_ok=True)
    return SortedTable(folder, _NAME, entries=documents, distinct=lambda entries: entries)


def held_of(ledger: pa.Table, number: int) -> Entries:
    """The documents of a split by its ledger, as HELD. number: the split's."""
    first = np.flatnonzero(numbers_of(ledger, "chunk", np.int32) == 0)
    held = np.zeros(len(first), dtype=HELD)
    held["head"] = numbers_of(ledger, "doc", np.uint64)[first]
    held["document"] = keys_of(ledger, "document")["head"][first]
    held["text"] = numbers_of(ledger, "text", np.uint64)[first]
    held["split"] = number
    return held


class Before:
    """Documents by the hash of their ids, and which of them are in the input still.

    The table lies in a folder of this machine and is mapped, not read; what is seen takes a byte
    a document.
    """

    def __init__(self, folder: Path) -> None:
        """folder: in which a table of :func:`held_table` was closed."""
        self._heads: Hashes = mapped(folder / f"{_NAME}.heads", np.dtype("<u8"))
        self._held = mapped(folder / f"{_NAME}.entries", HELD)
        self._seen = np.zeros(len(self._heads), dtype=np.bool_)

    def compare(self, doc: Hashes, document: Hashes, texts: Texts) -> npt.NDArray[np.uint8]:
        """A Change for each document. texts: hashes of the texts at some places, asked for where
        the document is another than before."""
        change = np.full(len(doc), Change.ADDED, dtype=np.uint8)
        for here, rows in self._rows(doc):
            held = self._held[rows]
            now = np.full(len(here), Change.UNCHANGED, dtype=np.uint8)
            other = np.flatnonzero(held["document"] != document[here])
            same_text = held["text"][other] == texts(here[other])
            now[other] = np.where(same_text, Change.METADATA, Change.TEXT)
            now[(held["document"] == 0) | (document[here] == 0)] = Change.UNKNOWN
            change[here] = np.maximum(change[here], now)
        return change

    def mark(self, doc: Hashes) -> None:
        """Take ids for seen."""
        for _, rows in self._rows(doc):
            self._seen[rows] = True

    def _rows(self, doc: Hashes) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]:
        """Places in doc and the row of each; again for those that have another row behind it, as an
        id of two files does."""
        heads = self._heads
        here, rows = np.arange(len(doc)), np.searchsorted(heads, doc)
        while True:
            inside = rows < len(heads)
            here, rows = here[inside], rows[inside]
            same = heads[rows] == doc[here]
            here, rows = here[same], rows[same]
            if not len(here):
                return
            yield here, rows
            rows = rows + 1

    def gone(self) -> int:
        """How many ids were not seen."""
        return sum(map(len, self._unseen()))

    def gone_examples(self, limit: int) -> Entries:
        """The first of them, as HELD."""
        rows = islice((row for found in self._unseen() for row in found.tolist()), limit)
        return np.array(self._held[list(rows)])

    def _unseen(self) -> Iterator[npt.NDArray[np.intp]]:
        """Rows, one for each id."""
        for start in range(0, len(self._heads), _ROWS_AT_A_TIME):
            rows = np.flatnonzero(~self._seen[start : start + _ROWS_AT_A_TIME]) + start
            again = (rows > 0) & (self._heads[rows] == self._heads[rows - 1])
            yield rows[~again]
