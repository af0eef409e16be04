"""Which of a split's records go on to be embedded: the excluded and the doubled stay behind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, groupby, islice
from operator import attrgetter
from typing import NamedTuple, cast

import numpy as np

from embed_job.ids import Hashes, SeenIds, hash_ids, superseded
from embed_job.records import Document, Reason, Rejection, Stage
from embed_job.tally import Stopwatch, Tally

_BLOCK_RECORDS = 1024
_BLOCK_CHARACTERS = 1 << 20

Records = Iterable[Document | Rejection]

_file_of = attrgetter("key")


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Why a document is left out that was read well: a former attempt failed on it."""

    reason: Reason
    stage: Stage
    detail: str


def reject(document: Document, exclusion: Exclusion) -> Rejection:
    """The dead letter of a document refused after it was read."""
    return Rejection(
        ordinal=document.ordinal,
        key=document.key,
        line=document.line,
        byte_offset=document.byte_offset,
        length=document.length,
        reason=exclusion.reason,
        stage=exclusion.stage,
        detail=exclusion.detail,
        doc_id=document.doc_id[:256],
    )


class Admitted(NamedTuple):
    """Some documents, maybe none, and the hashes of their ids."""

    documents: list[Document]
    ids: Hashes


@dataclass(slots=True)
class Admission:
    """One pass over a split's records.

    policy: the spec's on_duplicate_id, for repeats within one file of the split: those between
    files are told when the job ends, whether the files share a split or not. read: makes a fresh
    pass over the same records (needed twice for last_wins). exclude: ordinal to why. refuse is
    told every rejection.
    """

    policy: str
    read: Callable[[], Records]
    exclude: Mapping[int, Exclusion]
    refuse: Callable[[Rejection], None]
    tally: Tally
    watch: Stopwatch
    seen: SeenIds
    _file: str | None = field(default=None, init=False)

    def documents(self) -> Iterator[Document]:
        """The documents to embed, in order; every other record is counted."""
        return chain.from_iterable(block.documents for block in self.blocks())

    def blocks(self) -> Iterator[Admitted]:
        """The same, by blocks of bounded size."""
        dropped = self._superseded() if self.policy == "last_wins" else frozenset()
        records = iter(self.read())
        while True:
            with self.watch("read"):
                block = _block(records)
                admitted = self._admit(block, dropped)
            if not block:
                return
            yield admitted

    def _superseded(self) -> frozenset[int]:
        with self.watch("read"):
            files = groupby(self.read(), key=_file_of)
            return frozenset(chain.from_iterable(self._superseded_in(file) for _, file in files))

    def _superseded_in(self, records: Iterator[Document | Rejection]) -> list[int]:
        ordinals: list[int] = []
        hashes: list[Hashes] = []
        while block := _block(records):
            found = [r for r in block if self._is_candidate(r)]
            ordinals += [document.ordinal for document in found]
            hashes.append(hash_ids(r.doc_id for r in found if isinstance(r, Document)))
        lost = superseded(np.concatenate(hashes))
        return [ordinal for ordinal, gone in zip(ordinals, lost.tolist(), strict=True) if gone]

    def _is_candidate(self, record: Document | Rejection) -> bool:
        return isinstance(record, Document) and record.ordinal not in self.exclude

    def _admit(self, block: list[Document | Rejection], dropped: frozenset[int]) -> Admitted:
        self.tally.documents_read += len(block)
        if not (dropped or self.exclude) and all(r.__class__ is Document for r in block):
            return self._by_file(cast("list[Document]", block))
        candidates: list[Document] = []
        for record in block:
            if isinstance(record, Rejection):
                self.refuse(record)
            elif record.ordinal in self.exclude:
                self.refuse(reject(record, self.exclude[record.ordinal]))
            elif record.ordinal in dropped:
                self.tally.documents_skipped += 1
            else:
                candidates.append(record)
        return self._by_file(candidates)

    def _by_file(self, candidates: list[Document]) -> Admitted:
        admitted: list[Document] = []
        ids = [np.empty(0, dtype=np.uint64)]
        for file, documents in groupby(candidates, key=_file_of):
            if file != self._file:
                self._file = file
                self.seen.begin_file()
            found = self._distinct(list(documents))
            admitted += found.documents
            ids.append(found.ids)
        return Admitted(admitted, np.concatenate(ids))

    def _distinct(self, candidates: list[Document]) -> Admitted:
        ids = hash_ids([document.doc_id for document in candidates])
        repeated = self.seen.add(ids)
        if not repeated.any():
            return Admitted(candidates, ids)
        documents = [
            document
            for candidate, again in zip(candidates, repeated.tolist(), strict=True)
            if (document := self._settle(candidate) if again else candidate) is not None
        ]
        return Admitted(documents, hash_ids(document.doc_id for document in documents))

    def _settle(self, document: Document) -> Document | None:
        """A document whose id was seen before: renamed, or refused."""
        if self.policy != "suffix":
            detail = "the file holds an earlier document of this id"
            self.refuse(reject(document, Exclusion(Reason.DUPLICATE_ID, Stage.READ, detail)))
            return None
        number = 2
        while self.seen.add(hash_ids([f"{document.doc_id}~{number}"]))[0]:
            number += 1
        return document._replace(doc_id=f"{document.doc_id}~{number}")


def _block(records: Iterator[Document | Rejection]) -> list[Document | Rejection]:
    """The next records, a bounded amount of them; empty at the end."""
    block: list[Document | Rejection] = []
    characters = 0
    for record in islice(records, _BLOCK_RECORDS):
        block.append(record)
        if record.__class__ is Document:
            characters += len(record.text)
            if characters > _BLOCK_CHARACTERS:
                break
    return block
