"""One new split against what was there before: each document is read, hashed and looked up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt

from embed_job.admit import Admission
from embed_job.ids import Hashes, SeenIds
from embed_job.records import Document
from embed_job.reuse.diff.before import Before, Change
from embed_job.reuse.document_hash import Keys, hash_documents, hash_texts
from embed_job.tally import Tally

MAX_EXAMPLES = 5

Known = Callable[[Keys], npt.NDArray[np.bool_]]


@dataclass(slots=True)
class Comparison:
    """Sums over new splits. changes: documents by Change. carried: those whose rows would be taken
    over as they are; known: of document keys, whether such rows are there; None: nothing is taken
    over."""

    before: Before
    known: Known | None
    tally: Tally = field(default_factory=Tally)
    changes: Counter[Change] = field(default_factory=Counter)
    carried: int = 0
    examples: dict[Change, list[str]] = field(default_factory=dict)

    def read(self, admission: Callable[[Tally, SeenIds], Admission]) -> Iterator[Document]:
        """Read a split to its end; the documents that are not carried."""
        seen = SeenIds()
        for block in admission(self.tally, seen).blocks():
            yield from self._compare(block.documents, block.ids)
        self.before.mark(seen.sorted())

    def take(self, doc: Hashes, document: Hashes, text: Hashes) -> None:
        """Documents of a split that is embedded already: nothing of it is to be done."""
        self.tally.documents_read += len(doc)
        self._count(self.before.compare(doc, document, text.__getitem__))
        self.before.mark(doc)

    def _compare(self, block: list[Document], doc: Hashes) -> Iterator[Document]:
        if not block:
            return
        keys = hash_documents(block)
        change = self.before.compare(doc, keys["head"], partial(_texts, block))
        self._count(change)
        other = np.flatnonzero(change != Change.UNCHANGED)
        for index in other.tolist():
            some = self.examples.setdefault(Change(change[index]), [])
            if len(some) < MAX_EXAMPLES:
                some.append(block[index].doc_id)
        carried = np.zeros(len(block), dtype=np.bool_)
        if self.known is not None:
            carried = change == Change.UNCHANGED
            carried[other] = self.known(keys[other])
        self.carried += int(carried.sum())
        for index in np.flatnonzero(~carried).tolist():
            yield block[index]

    def _count(self, change: npt.NDArray[np.uint8]) -> None:
        values, counts = np.unique(change, return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            self.changes[Change(value)] += count


def _texts(block: Sequence[Document], places: npt.NDArray[np.intp]) -> Hashes:
    return hash_texts(block[place] for place in places.tolist())
