"""Reports of runs that never were, for whoever reads rates from them."""

from typing import Any

from embed_job.report.model import Report
from embed_job.spec import JobSpec


def make_spec(**compute: Any) -> JobSpec:
    return JobSpec.model_validate(
        {
            "name": "kb",
            "input": {"uri": "s3://bucket/in/"},
            "outputs": [{"parquet": {"uri": "s3://bucket/out/"}}],
            "compute": {"instance_type": "ml.c7i.4xlarge"} | compute,
        }
    )


def make_report(**changes: Any) -> Report:
    """Of a dry run: 2 workers of 1 thread, 500 tokens/s each."""
    plain: dict[str, Any] = {
        "name": "dry-run",
        "version": "0.1.0",
        "ok": True,
        "problems": (),
        "warnings": (),
        "started_at": 0,
        "finished_at": 10,
        "wall_s": 10,
        "load_s": 1,
        "counts": {"documents": {}, "chunks": {}, "tokens": 0, "embedded_tokens": 0},
        "identity_holds": True,
        "throughput": {
            "tokens_per_s": 1000,
            "documents_per_s": 1,
            "documents": 9,
            "tokens": 9000,
            "embedding_s": 9,
            "committed_tokens_per_s_per_worker": 500,
        },
        "stages_s": {},
        "padding_fraction": 0,
        "truncated": {"documents": 0, "tokens": 0},
        "rejected_by_reason": {},
        "rejected_examples": (),
        "duplicates_across_splits": 0,
        "duplicate_examples": (),
        "absent_fields": {},
        "peak_rss_bytes": 1,
        "fingerprint": "f",
        "resumed": {"splits_reused": 0, "splits_embedded": 1, "documents_embedded": 9},
        "workers": (),
        "splits": (),
        "machine": {"cores": 2, "cpu": "A CPU", "python": "3.12", "platform": "Linux x86_64"},
        "inputs": {"uri": "x", "files": 1, "bytes": 1, "splits": 1},
        "outputs": (),
        "sample": {"documents": 9, "bytes": 1, "of_bytes": 2},
        "estimates": dict.fromkeys(
            [
                "corpus_documents",
                "corpus_tokens",
                "output_bytes",
                "hours_here",
                "hours_on_compute",
                "cost_usd",
                "usd_per_million_documents",
                "usd_per_million_tokens",
            ]
        )
        | {"missing": ()},
        "examples": (),
        "spec": make_spec().model_dump(mode="json"),
    }
    return Report.model_validate(plain | changes)
