"""Nearest neighbours in an output: exact, reading every vector, in bounded memory."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa

from embed_job.dataset import Dataset, vectors_of
from embed_job.dataset.nearest import cosines, nearest
from embed_job.engine import Vectors
from embed_job.excerpt import excerpt
from embed_job.manifest import DatasetDescriptor
from embed_job.report.model import NearestExample, Neighbour

CANDIDATES_AN_EXAMPLE = 8


@dataclass(frozen=True, slots=True)
class Hit:
    """A row near a query. score: cosine. text: None where the output has no text column."""

    score: float
    id: str
    doc_id: str
    chunk: int
    char_start: int
    char_end: int
    text: str | None
    metadata: dict[str, Any] = field(default_factory=dict)


def search(dataset: Dataset, query: Vectors, *, top: int) -> list[Hit]:
    """The `top` rows nearest to query by cosine, best first."""
    best: list[Hit] = []
    for batch in dataset.iter_rows():
        scores, rows = nearest(vectors_of(batch), query, top)
        if len(best) == top:
            better = scores > best[-1].score
            scores, rows = scores[better], rows[better]
        # The sort is stable, so of equals those that were seen first stay first.
        hits = _hits(batch, dataset.descriptor, rows.tolist(), scores.tolist())
        best = sorted([*best, *hits], key=lambda hit: -hit.score)[:top]
    return best


def _hits(
    batch: pa.RecordBatch, descriptor: DatasetDescriptor, rows: list[int], scores: list[float]
) -> list[Hit]:
    chosen = batch.drop_columns(["vector"]).take(pa.array(rows, pa.int64())).to_pylist()
    return [
        Hit(
            score=score,
            id=row["id"],
            doc_id=row["doc_id"],
            chunk=row["chunk"],
            char_start=row["char_start"],
            char_end=row["char_end"],
            text=row.get("text"),
            metadata={name: row[name] for name in descriptor.columns},
        )
        for row, score in zip(chosen, scores, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Query:
    doc_id: str
    content_hash: str
    text: str
    vector: Vectors


@dataclass(slots=True)
class _Nearest:
    """The k documents nearest to a query among the rows seen so far, by their best chunk."""

    query: _Query
    k: int
    best: dict[str, Neighbour] = field(default_factory=dict)

    def see(self, batch: pa.RecordBatch, matrix: Vectors) -> None:
        scores = cosines(matrix, self.query.vector)
        for row in np.argsort(-scores, kind="stable").tolist():
            score = float(scores[row])
            if not np.isfinite(score) or (len(self.best) == self.k and score <= self._floor()):
                return
            doc_id = batch["doc_id"][row].as_py()
            same = batch["content_hash"][row].as_py() == self.query.content_hash
            if same or doc_id == self.query.doc_id:
                continue
            if doc_id not in self.best or score > self.best[doc_id].score:
                text = excerpt(_text(batch, row))
                self.best[doc_id] = Neighbour(doc_id=doc_id, score=score, text=text)
            if len(self.best) > self.k:
                del self.best[min(self.best, key=lambda name: self.best[name].score)]

    def _floor(self) -> float:
        return min(found.score for found in self.best.values())

    def example(self) -> NearestExample:
        ordered = sorted(self.best.values(), key=lambda found: -found.score)
        query = excerpt(self.query.text) or self.query.doc_id
        return NearestExample(query=query, neighbours=tuple(ordered))


def neighbour_examples(
    dataset: Dataset, *, count: int = 3, k: int = 3, seed: int = 0
) -> list[NearestExample]:
    """`count` documents, drawn by seed and of unlike ids, each with the k nearest others.

    Copies of a document's text are no neighbours of it. Two passes over the rows; memory: one
    batch and a few vectors. Fewer, or none, where the output is that small.
    """
    searches = [_Nearest(query, k) for query in _draw(dataset, count, seed)]
    for batch in dataset.iter_rows(columns=_columns(dataset)):
        matrix = vectors_of(batch)
        for search in searches:
            search.see(batch, matrix)
    return [search.example() for search in searches if search.best]


def _draw(dataset: Dataset, count: int, seed: int) -> list[_Query]:
    """Queries: those of the lowest keyed hashes, so that the order of rows plays no part."""
    key = seed.to_bytes(8, "little", signed=True)
    wanted = CANDIDATES_AN_EXAMPLE * count
    lowest: list[tuple[int, str, _Query]] = []
    for batch in dataset.iter_rows(columns=_columns(dataset)):
        for row, doc_id in _first_chunks(batch):
            digest = blake2b(doc_id.encode(), digest_size=8, key=key).digest()
            rank = -int.from_bytes(digest, "big")
            if len(lowest) == wanted and rank <= lowest[0][0]:
                continue
            content_hash = batch["content_hash"][row].as_py()
            vector = vectors_of(batch.slice(row, 1))[0].copy()
            query = _Query(doc_id, content_hash, _text(batch, row), vector)
            push = heapq.heappush if len(lowest) < wanted else heapq.heapreplace
            push(lowest, (rank, doc_id, query))
    return _unlike([query for _, _, query in sorted(lowest, key=lambda item: -item[0])], count)


def _unlike(queries: list[_Query], count: int) -> list[_Query]:
    """The first of each beginning of an id, then whatever comes next."""
    first: dict[str, _Query] = {}
    for query in queries:
        first.setdefault(re.split(r"[\W_]", query.doc_id, maxsplit=1)[0], query)
    chosen = list(first.values())
    others = [query for query in queries if query not in chosen] if len(chosen) < count else []
    return [*chosen, *others][:count]


def _first_chunks(batch: pa.RecordBatch) -> Iterator[tuple[int, str]]:
    chunks = batch["chunk"].to_pylist()
    for row, (doc_id, chunk) in enumerate(zip(batch["doc_id"].to_pylist(), chunks, strict=True)):
        if chunk == 0:
            yield row, doc_id


def _columns(dataset: Dataset) -> list[str]:
    text = ["text"] if dataset.descriptor.text else []
    return ["doc_id", "chunk", "content_hash", *text, "vector"]


def _text(batch: pa.RecordBatch, row: int) -> str:
    return batch["text"][row].as_py() or "" if "text" in batch.schema.names else ""
