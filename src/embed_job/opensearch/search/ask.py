"""A question to an index, and its hits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from opensearchpy import OpenSearch

from embed_job.dataset.nearest import cosines
from embed_job.dataset.search import Hit
from embed_job.engine import Vectors
from embed_job.errors import UserError
from embed_job.opensearch.check.pages import Hits, search_each
from embed_job.opensearch.search.filters import parse_filters
from embed_job.opensearch.search.found import FoundIndex
from embed_job.opensearch.search.fusion import fuse
from embed_job.opensearch.search.question import MIN_K, cosine_of, nearest_query
from embed_job.opensearch.serverless.copies import GENERATION
from embed_job.opensearch.target import ID, SPLIT, VECTOR
from embed_job.spec import COLUMNS

_FUSED = 50
"""Hits of each kind that are fused, at least."""

_NO_METADATA = frozenset(COLUMNS) | {SPLIT}
_NO_METADATA_ON_SERVERLESS = _NO_METADATA | {GENERATION}


def search_index(
    client: OpenSearch,
    index: FoundIndex,
    vector: Vectors,
    words: str,
    *,
    top: int,
    filters: Sequence[str] = (),
    hybrid: bool = False,
) -> list[Hit]:
    """The `top` rows nearest to a question, best first; score is the cosine.

    vector: float32 [dimension], of the question; words: the question itself, which hybrid also
    searches the texts for (BM25). hybrid's order is that of both rankings fused, so scores need
    not fall. filters: as ``language=en`` or ``year>=2020``; all must hold. Raises UserError for a
    filter that the index can't take, and for hybrid where it has no texts.
    """
    clauses = parse_filters(filters, index.fields)
    if hybrid and "text" not in index.fields:
        raise UserError(
            "--hybrid", "the index has no texts", "Set parquet.text: true, and run and load anew."
        )
    size = max(top, _FUSED) if hybrid else top
    query = nearest_query(vector, k=max(size, MIN_K), is_byte=index.is_byte, filters=clauses)
    bodies = [{"size": size, "query": query, "_source": {"excludes": [VECTOR]}}]
    if hybrid:
        match = {"bool": {"must": [{"match": {"text": words}}], "filter": clauses}}
        # With their vectors, as those that are not among the nearest have no cosine yet.
        bodies.append({"size": size, "query": match})
    near, *worded = search_each(client, index.asked, iter(bodies))
    hits: dict[str, Hit] = {}
    for found in worded:
        hits |= {_id_of(index, hit): _hit(index, hit, _cosine(hit, vector)) for hit in found}
    for hit in near:
        cosine = cosine_of(hit["_score"], space=index.space, is_byte=index.is_byte)
        hits[_id_of(index, hit)] = _hit(index, hit, cosine)
    return [hits[name] for name in fuse([_ids(index, found) for found in (near, *worded)])][:top]


def _ids(index: FoundIndex, hits: Hits) -> list[str]:
    """Each row once: on Serverless there may be a second copy of one for a while."""
    return [*dict.fromkeys(_id_of(index, hit) for hit in hits)]


def _id_of(index: FoundIndex, hit: Mapping[str, Any]) -> str:
    return str(hit["_source"][ID] if index.is_serverless else hit["_id"])


def _cosine(hit: Mapping[str, Any], vector: Vectors) -> float:
    stored = np.array([hit["_source"][VECTOR]], np.float32)
    return float(cosines(stored, vector)[0])


def _hit(index: FoundIndex, hit: Mapping[str, Any], score: float) -> Hit:
    row = hit["_source"]
    others = _NO_METADATA_ON_SERVERLESS if index.is_serverless else _NO_METADATA
    return Hit(
        score=score,
        id=_id_of(index, hit),
        doc_id=row["doc_id"],
        chunk=row["chunk"],
        char_start=row["char_start"],
        char_end=row["char_end"],
        text=row.get("text"),
        metadata={name: row.get(name) for name in index.fields if name not in others},
    )
