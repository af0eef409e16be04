"""Check 6: searches of the index find what an exact search of the Parquet parts finds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from embed_job.dataset import Dataset, vectors_of
from embed_job.dataset.nearest import unit
from embed_job.engine import Vectors
from embed_job.ids import Hashes, hash_ids
from embed_job.opensearch.check.pages import field_of
from embed_job.opensearch.check.sample import Sample
from embed_job.opensearch.check.subject import CONTENT, Answer, Subject, hits_by
from embed_job.opensearch.search.question import MIN_K, nearest_query

QUERIES = 250
TOP = 10
KEPT = 100
"""Of the exact search: the first TOP, and room for others that are just as near."""

_TIE = 1e-6
"""Cosines of float32 vectors are off by about so much."""


def check_recall(subject: Subject, sample: Sample) -> Answer:
    """recall@10 over QUERIES questions that are no row: the middle of two sampled rows each.

    A hit counts where it is as near as the tenth of the exact search, so of equals any will do.
    Hits are told by their content hash. k is MIN_K at least; see there.
    """
    if not len(sample):
        return Answer(ok=True, detail="there are no rows")
    queries = between(sample.vectors, count=QUERIES)
    exact = exact_search(subject.dataset, queries, subject.refused_ids)
    is_byte = subject.target.output.graph.storage == "byte"
    bodies = (
        {
            "size": TOP,
            "query": nearest_query(query, k=MIN_K, is_byte=is_byte),
            "_source": False,
            "docvalue_fields": [CONTENT],
        }
        for query in queries
    )
    found = [
        hash_ids(field_of(hit, CONTENT) for hit in hits) for hits in hits_by(subject, iter(bodies))
    ]
    recall = float(np.mean([exact.recall(number, hits) for number, hits in enumerate(found)]))
    least = subject.target.output.gates.min_recall
    told = (
        f"recall@{TOP} {recall:.3f} over {QUERIES} queries, each the middle of two rows; "
        f"at least {least:g}"
    )
    return Answer(ok=recall >= least, detail=told, figure=recall)


def between(vectors: Vectors, *, count: int, seed: int = 0) -> Vectors:
    """Questions near the rows but none of them: the middle of two rows each, of length 1.

    float32 [count, dimension]. A row that has no other is its own question.
    """
    draw = np.random.default_rng(seed)
    left = draw.integers(0, len(vectors), count)
    right = (left + draw.integers(1, max(2, len(vectors)), count)) % len(vectors)
    middles = unit(vectors[left]) + unit(vectors[right])
    opposite = np.linalg.norm(middles, axis=1) < 1e-3
    middles[opposite] = vectors[left][opposite]
    return unit(middles)


class ExactTop:
    """The KEPT rows nearest to each of some queries, among all rows seen so far.

    Memory: 12 bytes × KEPT a query, and one block's cosines.
    """

    def __init__(self, queries: Vectors) -> None:
        """queries: float32 [queries, dimension]."""
        self._queries = unit(queries)
        self._cosines: npt.NDArray[np.float32] = np.empty((len(queries), 0), np.float32)
        self._contents: Hashes = np.empty((len(queries), 0), np.uint64)

    def see(self, vectors: Vectors, contents: Hashes) -> None:
        """A block of rows: float32 [rows, dimension], and a hash of each row's content."""
        cosines = np.concatenate([self._cosines, self._queries @ unit(vectors).T], axis=1)
        shape = (len(self._queries), len(contents))
        contents = np.concatenate([self._contents, np.broadcast_to(contents, shape)], axis=1)
        if cosines.shape[1] > KEPT:
            best = np.argpartition(-cosines, KEPT - 1, axis=1)[:, :KEPT]
            cosines = np.take_along_axis(cosines, best, axis=1)
            contents = np.take_along_axis(contents, best, axis=1)
        self._cosines, self._contents = cosines, contents

    def recall(self, query: int, found: Hashes) -> float:
        """Which share of a query's TOP (or of all rows, where they are fewer) was found.

        found: contents of what a search has answered, best first.
        """
        cosines = self._cosines[query]
        top = min(TOP, len(cosines))
        if not top:
            return 1.0
        least = np.partition(cosines, len(cosines) - top)[len(cosines) - top]
        right = self._contents[query][cosines >= least - _TIE]
        return float(np.isin(found[:top], right).sum()) / top


def exact_search(dataset: Dataset, queries: Vectors, refused: Hashes) -> ExactTop:
    """What is nearest to each query: every vector is read, once for all queries.

    refused: hashes of ids that the index does not have.
    """
    exact = ExactTop(queries)
    columns = [CONTENT, "vector", *(["id"] if len(refused) else [])]
    for batch in dataset.iter_rows(columns=columns):
        vectors, contents = vectors_of(batch), hash_ids(batch.column(CONTENT).to_pylist())
        if len(refused):
            kept = ~np.isin(hash_ids(batch.column("id").to_pylist()), refused)
            vectors, contents = vectors[kept], contents[kept]
        exact.see(vectors, contents)
    return exact
