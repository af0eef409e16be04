"""What an index must hold before searches are pointed to it."""

from __future__ import annotations

from pydantic import Field

from embed_job.spec.section import Section


class CanarySpec(Section):
    """Your own queries, asked of the live index and of the one that is to replace it."""

    queries: str = Field(
        min_length=1,
        description="File of one JSON object a line: query, and where you have them judgements "
        "({doc_id: grade}) and filters ([language=en]). A path, or s3://, which jobs need.",
    )
    min_overlap: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Least share of the first ten documents that both give, over all queries.",
    )
    min_ndcg_ratio: float = Field(
        0.95,
        ge=0,
        description="Least nDCG@10 of the new index, as a share of the live one's, over the "
        "judged queries.",
    )
    max_p95_ratio: float | None = Field(
        None,
        gt=0,
        description="How many times the live index's 95th percentile of latency the new one's may "
        "be; unset: not looked at.",
    )


class GateSpec(Section):
    """What an index must hold to be promoted."""

    max_rejected_fraction: float = Field(
        0.01, ge=0, le=1, description="Share of rows that the server may have refused."
    )
    min_recall: float = Field(
        0.9, ge=0, le=1, description="Least recall@10 against exact search, over sampled queries."
    )
    canary: CanarySpec | None = Field(
        None, description="Queries of your own, where an index is to replace another."
    )
