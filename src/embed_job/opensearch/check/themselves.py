"""Check 5: sampled vectors find themselves first."""

from __future__ import annotations

from embed_job.opensearch.check.pages import Hits, field_of
from embed_job.opensearch.check.sample import Sample
from embed_job.opensearch.check.subject import CONTENT, Answer, Subject, hits_by
from embed_job.opensearch.search.question import MIN_K, cosine_of, nearest_query

MIN_FRACTION = 0.99
"""A graph is approximate: now and then a search ends beside the vector itself."""


def check_themselves(subject: Subject, sample: Sample) -> Answer:
    """Search for each sampled vector; the nearest must be its row, or another just as near.

    Just as near: the row is among the hits, and its cosine is that of the first, but for what
    storage loses; or what is so near has the row's very content, of which there may be many.
    """
    if not len(sample):
        return Answer(ok=True, detail="there are no rows")
    is_byte = subject.target.output.graph.storage == "byte"
    bodies = (
        {
            "size": MIN_K,
            "query": nearest_query(vector, k=MIN_K, is_byte=is_byte),
            "_source": False,
            "docvalue_fields": [CONTENT, *subject.id_fields],
        }
        for vector in sample.vectors
    )
    missed: list[str] = []
    ties = 0
    for row, hits in zip(sample.documents, hits_by(subject, iter(bodies)), strict=True):
        if hits and subject.id_of(hits[0]) == row["id"]:
            continue
        nearest = _as_near_as_the_first(subject, hits)
        ids = {subject.id_of(hit) for hit in nearest}
        if row["id"] in ids or row[CONTENT] in {field_of(hit, CONTENT) for hit in nearest}:
            ties += 1
        else:
            missed.append(row["id"])
    fraction = 1 - len(missed) / len(sample)
    told = f"{len(sample) - len(missed)} of {len(sample)} vectors find themselves first"
    told += f" ({ties} beside an equal one)" if ties else ""
    told += f"; not {missed[0][:60]!r}" if missed else ""
    return Answer(ok=fraction >= MIN_FRACTION, detail=told, figure=fraction)


def _as_near_as_the_first(subject: Subject, hits: Hits) -> Hits:
    target = subject.target
    storage = target.output.graph.storage
    exact = storage == "float32" and target.dataset.vector_type == "float32"
    tolerance = 1e-5 if exact else 5e-3
    cosines = [
        cosine_of(hit["_score"], space=target.space, is_byte=storage == "byte") for hit in hits
    ]
    return [
        hit for hit, cosine in zip(hits, cosines, strict=True) if cosine >= cosines[0] - tolerance
    ]
