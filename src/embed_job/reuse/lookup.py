"""Where the rows of a document, or the vector of a text, stand in earlier parts.

Rows are numbered through all earlier parts, in the order of the catalog.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from embed_job.reuse.document_hash import KEY, Keys
from embed_job.reuse.sorted_table import Entries, mapped

CATALOG = "catalog.json"
FACTS = "facts"
DOCUMENTS = "documents"
CONTENTS = "contents"

RUN = np.dtype(
    [("head", "<u8"), ("tail", "<u8"), ("row", "<u8"), ("rows", "<u4"), ("chunk", "<u4")]
)
"""Rows of one document that follow on each other: where they begin, how many, the first chunk."""

CONTENT = np.dtype([("head", "<u8"), ("row", "<u8")])
FACT = np.dtype([("content", KEY), ("doc", "<u8"), ("text", "<u8"), ("lost", "<i4")])
"""Of each row what its ledger told; unknown keys and texts are zeros."""

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Runs:
    """Rows of documents. owner: index of the document asked for, ascending; row: the first of a
    run; rows: how many. Each int64 [runs]. The runs of a document hold each of its chunks once, in
    order."""

    owner: Rows
    row: Rows
    rows: Rows


class Lookup:
    """The tables that :func:`embed_job.reuse.build.build_lookup` left in a folder.

    They are mapped, not read: memory is what was touched, and given back with this object.
    """

    def __init__(self, folder: Path) -> None:
        self._run_heads = mapped(folder / f"{DOCUMENTS}.heads", np.dtype("<u8"))
        self._runs = mapped(folder / f"{DOCUMENTS}.entries", RUN)
        self._content_heads = mapped(folder / f"{CONTENTS}.heads", np.dtype("<u8"))
        self._contents = mapped(folder / f"{CONTENTS}.entries", CONTENT)
        self._facts = mapped(folder / FACTS, FACT)

    def runs(self, documents: Keys) -> Runs:
        """Where the rows of each known document are. documents: keys [n]."""
        heads, entries = self._run_heads, self._runs
        if not len(heads) or not len(documents):
            return Runs(*(np.empty(0, np.int64) for _ in range(3)))
        wanted = documents["head"]
        place = np.searchsorted(heads, wanted)
        found = entries[np.minimum(place, len(heads) - 1)]
        hit = (place < len(heads)) & (found["head"] == wanted)
        following = np.minimum(place + 1, len(heads) - 1)
        is_alone = (following == place) | (heads[following] != wanted)
        is_whole = hit & is_alone & (found["tail"] == documents["tail"]) & (found["chunk"] == 0)
        several = np.flatnonzero(hit & ~is_alone)
        owner = np.flatnonzero(is_whole)
        pieces = [(np.full(len(more), index), more) for index in several.tolist()
                  if len(more := self._several(int(place[index]), documents[index]))]  # fmt: skip
        pieces.append((owner, found[owner]))
        owners = np.concatenate([piece[0] for piece in pieces]).astype(np.int64)
        runs = np.concatenate([piece[1] for piece in pieces])
        order = np.argsort(owners, kind="stable")
        runs = runs[order]
        return Runs(owners[order], runs["row"].astype(np.int64), runs["rows"].astype(np.int64))

    def has_documents(self, documents: Keys) -> npt.NDArray[np.bool_]:
        """Whether all rows of each document are known. documents: keys [n]."""
        has = np.zeros(len(documents), dtype=np.bool_)
        has[self.runs(documents).owner] = True
        return has

    def _several(self, place: int, key: np.void) -> Entries:
        """The runs of one document from a place on, where several have its head."""
        end = int(np.searchsorted(self._run_heads, key["head"], side="right"))
        runs: Entries = self._runs[place:end]
        runs = runs[runs["tail"] == key["tail"]]
        due = np.concatenate([[0], np.cumsum(runs["rows"])[:-1]]) if len(runs) else 0
        is_whole = np.array_equal(runs["chunk"], due)
        return runs if is_whole else runs[:0]

    def contents(self, keys: Keys) -> Rows:
        """A row that bears the vector of each content; -1 where none is known. keys [n]."""
        heads = self._content_heads
        if not len(heads):
            return np.full(len(keys), -1, dtype=np.int64)
        place = np.minimum(np.searchsorted(heads, keys["head"]), len(heads) - 1)
        rows = self._contents["row"][place].astype(np.int64)
        return np.where(self._facts["content"][rows] == keys, rows, -1)

    def facts(self, rows: Rows) -> Entries:
        """What is known of rows, as FACT."""
        facts: Entries = self._facts[rows]
        return facts
