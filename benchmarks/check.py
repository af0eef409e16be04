"""Before anything is timed: the same token ids and, within rounding, the same vectors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.corpus import FIELDS, read_jsonl, text_of, write_jsonl
from benchmarks.job import Job, cosines, output_vectors, read_rows, read_vectors, run_job
from benchmarks.peers.programs import BASELINE, Machine, run_program
from embed_job.bundle import open_bundle
from embed_job.tokenizer import Tokenizer

LEAST_COSINE = 0.9999
_BATCH = ("--batch-size", "8")


@dataclass(frozen=True, slots=True)
class Agreement:
    """least and mean cosine against sentence-transformers; failures: what does not hold."""

    documents: int
    tokens: int
    least: float
    mean: float
    chunks: int
    chunks_least: float
    failures: list[str]


@dataclass(frozen=True, slots=True)
class Inputs:
    """What both sides are given. machine: for the baseline."""

    work: Path
    bundle: Path
    machine: Machine


def check_agreement(inputs: Inputs, sources: list[Path], *, long_documents: int) -> Agreement:
    """Embed all documents on both sides, cut to the model's maximum.

    long_documents: so many of the longest are chunked as well, and each chunk compared.
    """
    both = inputs.work / "check.jsonl"
    write_jsonl(both, (record for source in sources for record in read_jsonl(source)))
    job = Job(inputs.work, "check", both, inputs.bundle, options={"chunk.strategy": "truncate"})
    ran = run_job(job)
    theirs = inputs.work / "check-baseline.parquet"
    ids = inputs.work / "check-ids.npz"
    run_program(BASELINE, both, theirs, inputs.machine, [*_BATCH, "--ids-out", str(ids)])
    found = cosines(output_vectors(job), read_vectors([theirs]))
    failures = _token_failures(job, inputs.bundle, ids)
    if found.min() < LEAST_COSINE:
        failures.append(f"least cosine {found.min():.7f} of {len(found)} documents")
    rejected = ran.report["counts"]["documents"]["rejected"]
    if rejected:
        failures.append(f"{rejected} documents were rejected")
    chunks = _check_chunks(inputs, both, long_documents)
    if chunks.min() < LEAST_COSINE:
        failures.append(f"least cosine {chunks.min():.7f} of {len(chunks)} chunks")
    return Agreement(
        documents=len(found),
        tokens=ran.tokens,
        least=float(found.min()),
        mean=float(found.mean()),
        chunks=len(chunks),
        chunks_least=float(chunks.min()),
        failures=failures,
    )


def _token_failures(job: Job, bundle_path: Path, ids: Path) -> list[str]:
    """Ids of our tokenizer, and the counts in our output, against those of the baseline."""
    records = list(read_jsonl(job.source))
    bundle = open_bundle(bundle_path, verify=False)
    texts = [text_of(record, FIELDS) for record in records]
    tokens, _ = Tokenizer(bundle).encode_truncated(texts, bundle.max_tokens)
    theirs = np.load(ids)
    failures = []
    if not np.array_equal(tokens.lengths, theirs["lengths"]):
        failures.append("the numbers of token ids differ")
    elif not np.array_equal(tokens.ids, theirs["ids"]):
        failures.append("token ids differ")
    written = {
        r["id"]: r["n_tokens"] for r in read_rows(job.folder / "vectors", ["id", "n_tokens"])
    }
    counted = dict(zip((r["id"] for r in records), tokens.lengths.tolist(), strict=True))
    if written != counted:
        failures.append("the output's n_tokens differ from the token ids")
    return failures


def _check_chunks(inputs: Inputs, source: Path, count: int) -> np.ndarray:
    """Chunks of the longest documents: another engine given a chunk's text, the same vector?"""
    longest = sorted(read_jsonl(source), key=lambda record: -len(record["body"]))[:count]
    short = [record | {"body": record["body"][:6000]} for record in longest]
    few = inputs.work / "check-long.jsonl"
    write_jsonl(few, short)
    job = Job(
        inputs.work, "check-chunks", few, inputs.bundle, options={"outputs.0.parquet.text": True}
    )
    run_job(job)
    rows = read_rows(job.folder / "vectors", ["id", "text"])
    texts = inputs.work / "check-chunks.jsonl"
    write_jsonl(texts, rows)
    theirs = inputs.work / "check-chunks-baseline.parquet"
    run_program(BASELINE, texts, theirs, inputs.machine, [*_BATCH, "--fields", "text"])
    return cosines(output_vectors(job), read_vectors([theirs]))
