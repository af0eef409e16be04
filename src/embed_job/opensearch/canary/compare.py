"""The live index and the one that is to replace it, asked the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embed_job.opensearch.canary.ask import Answer, Asking
from embed_job.opensearch.canary.measures import ndcg, overlap
from embed_job.opensearch.canary.queries import CanaryQuery


@dataclass(frozen=True, slots=True)
class Compared:
    """One query's answers. old_ndcg, new_ndcg: None where it is not judged."""

    query: CanaryQuery
    old: Answer
    new: Answer
    overlap: float
    old_ndcg: float | None
    new_ndcg: float | None

    @property
    def change(self) -> float:
        """Of nDCG; 0 where it is not judged."""
        return (self.new_ndcg or 0.0) - (self.old_ndcg or 0.0)


@dataclass(frozen=True, slots=True)
class Latency:
    """Of one search, seen from here: median and 95th percentile, in milliseconds."""

    p50_ms: float
    p95_ms: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """All answers, in the order of the queries, and their means. judged: how many queries are;
    the nDCGs are of those, None where there are none."""

    old_index: str
    new_index: str
    answers: tuple[Compared, ...]
    overlap: float
    judged: int
    old_ndcg: float | None
    new_ndcg: float | None
    old_latency: Latency
    new_latency: Latency


def compare(queries: Sequence[CanaryQuery], old: Asking, new: Asking) -> Comparison:
    """Ask each query of both indexes, of one right after the other, so that what slows the cluster
    down slows both; the first query is asked once before, unmeasured.

    Memory: the ids of the first documents. Raises OutputError where an index does not answer.
    """
    for asking in (old, new):
        asking.ask(0)
        asking.seconds.clear()
    answers = []
    for number, query in enumerate(queries):
        before, after = old.ask(number), new.ask(number)
        answers.append(_compared(query, before, after))
    judged = [one for one in answers if one.query.is_judged]
    return Comparison(
        old_index=old.index.index,
        new_index=new.index.index,
        answers=tuple(answers),
        overlap=float(np.mean([one.overlap for one in answers])),
        judged=len(judged),
        old_ndcg=_mean([one.old_ndcg for one in judged]),
        new_ndcg=_mean([one.new_ndcg for one in judged]),
        old_latency=_latency(old.seconds),
        new_latency=_latency(new.seconds),
    )


def _compared(query: CanaryQuery, old: Answer, new: Answer) -> Compared:
    before, after = [one.doc_id for one in old], [one.doc_id for one in new]
    return Compared(
        query,
        old,
        new,
        overlap(before, after),
        ndcg(before, query.judgements),
        ndcg(after, query.judgements),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _latency(seconds: Sequence[float]) -> Latency:
    p50, p95 = np.percentile(np.array(seconds) * 1000, [50, 95])
    return Latency(float(p50), float(p95))
