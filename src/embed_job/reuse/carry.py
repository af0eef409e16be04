"""Documents that are as they were: their rows are copied, and they go no further."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from embed_job.records import Document
from embed_job.reuse.document_hash import Keys, hash_documents
from embed_job.reuse.ledger import make_entries
from embed_job.reuse.lookup import Lookup, Rows, Runs
from embed_job.reuse.parts import EarlierParts

_GROUP_DOCUMENTS = 2_048
_GROUP_CHARACTERS = 4 << 20
"""What is looked up, and written, at a time: few row groups of a few MB, as of windows."""


@dataclass(frozen=True, slots=True)
class CarriedRows:
    """Rows of documents that are as they were, with the ledger's entries for them.

    documents: those that are carried. tokens: of the rows. lost: tokens in no chunk, of each
    document that lost any.
    """

    documents: list[Document]
    rows: pa.RecordBatch
    entries: pa.RecordBatch
    tokens: int
    lost: list[int]


class Carrier:
    """Takes known documents out of a stream. For one thread.

    carried: gets the rows of each group's known documents, before the others are handed on.
    watch: entered while groups are hashed, looked up and copied.
    """

    def __init__(
        self,
        lookup: Lookup,
        parts: EarlierParts,
        *,
        carried: Callable[[CarriedRows], None],
        watch: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._lookup = lookup
        self._parts = parts
        self._carried = carried
        self._watch = watch

    def unknown(self, documents: Iterable[Document]) -> Iterator[Document]:
        """The documents that have to be chunked, in their order."""
        for group in _groups(documents):
            with self._watch():
                left = self._carry(group)
            yield from left

    def _carry(self, group: list[Document]) -> list[Document]:
        """Those of a group that are not known whole."""
        keys = hash_documents(group)
        wanted = _rows_of(self._lookup.runs(keys))
        if not len(wanted.row):
            return group
        rows, had = self._parts.take(wanted.row)
        wanted, rows = _whole(wanted, rows, had, group)
        is_carried = np.zeros(len(group), dtype=np.bool_)
        is_carried[wanted.owner] = True
        if rows.num_rows:
            self._carried(self._made(group, keys, wanted, rows))
        return [
            document
            for document, known in zip(group, is_carried.tolist(), strict=True)
            if not known
        ]

    def _made(
        self, group: list[Document], keys: Keys, wanted: _Wanted, rows: pa.RecordBatch
    ) -> CarriedRows:
        facts = self._lookup.facts(wanted.row)
        carried, place = np.unique(wanted.owner, return_inverse=True)
        documents = [group[index] for index in carried.tolist()]
        lost = np.bincount(place, weights=facts["lost"]).astype(np.int64)
        entries = make_entries(
            doc=np.ascontiguousarray(facts["doc"]),
            document=keys[wanted.owner],
            text=pa.array(np.ascontiguousarray(facts["text"])),
            content=np.ascontiguousarray(facts["content"]),
            chunk=rows.column("chunk"),
            lost=np.ascontiguousarray(facts["lost"]),
        )
        tokens: int = pc.sum(rows.column("n_tokens")).as_py()
        return CarriedRows(documents, rows, entries, tokens, lost[lost > 0].tolist())


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Rows ascending by number, as an earlier part has them. owner: index of the document in its
    group; chunk: the number that the row is to have."""

    row: Rows
    owner: Rows
    chunk: Rows

    def only(self, which: npt.NDArray[np.bool_]) -> _Wanted:
        return _Wanted(self.row[which], self.owner[which], self.chunk[which])


def _rows_of(runs: Runs) -> _Wanted:
    """Every row of the runs. Ascending, so that each batch of a part is taken from once."""
    total = int(runs.rows.sum())
    begins = np.cumsum(runs.rows) - runs.rows
    row = np.repeat(runs.row - begins, runs.rows) + np.arange(total)
    owner = np.repeat(runs.owner, runs.rows)
    first = np.flatnonzero(np.diff(owner, prepend=-1))
    lengths = np.diff(first, append=total)
    chunk = np.arange(total) - np.repeat(first, lengths)
    order = np.argsort(row, kind="stable")
    return _Wanted(row[order], owner[order], chunk[order])


def _whole(
    wanted: _Wanted, rows: pa.RecordBatch, had: npt.NDArray[np.bool_], group: list[Document]
) -> tuple[_Wanted, pa.RecordBatch]:
    """The documents of which every row is there and is what it should be, with their rows.

    A ledger that tells of other rows than the part holds is not believed.
    """
    there = wanted.only(had)
    doc_ids = pa.array([group[index].doc_id for index in there.owner.tolist()], pa.string())
    same = pc.and_(
        pc.equal(rows.column("doc_id"), doc_ids),
        pc.equal(rows.column("chunk"), pa.array(there.chunk.astype(np.int32))),
    )
    if had.all() and pc.all(same).as_py() is True:
        return there, rows
    is_same = np.array(same.to_pylist(), dtype=np.bool_)
    spoilt = np.union1d(wanted.owner[~had], there.owner[~is_same])
    good = ~np.isin(there.owner, spoilt)
    return there.only(good), rows.filter(pa.array(good))


def _groups(documents: Iterable[Document]) -> Iterator[list[Document]]:
    group: list[Document] = []
    characters = 0
    for document in documents:
        group.append(document)
        characters += len(document.text)
        if len(group) == _GROUP_DOCUMENTS or characters >= _GROUP_CHARACTERS:
            yield group
            group, characters = [], 0
    if group:
        yield group
