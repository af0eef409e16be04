"""From what a run knows to its report: sums and rates, no I/O."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from embed_job import __version__
from embed_job.excerpt import excerpt
from embed_job.manifest import SplitCounts, SplitManifest, StageTimes, total
from embed_job.report.estimate import estimate
from embed_job.report.model import (
    MAX_EXAMPLES,
    JobCounts,
    OutputReport,
    Report,
    Resumed,
    RunFacts,
    SplitReport,
    Throughput,
    Truncated,
    WorkerReport,
)
from embed_job.report.warn import warnings

T = TypeVar("T")
_STRAGGLER_FACTOR = 2.0
_STRAGGLER_MIN_S = 1.0
_STRAGGLER_MIN_SPLITS = 4


def build_report(facts: RunFacts) -> Report:
    """The report of a run."""
    counts = total(manifest.counts for manifest in facts.manifests)
    fresh = [manifest for manifest in facts.manifests if manifest.split in facts.fresh]
    done = total(manifest.counts for manifest in fresh)
    throughput = _throughput(facts, fresh)
    identity_holds = all(_balanced(manifest.counts) for manifest in facts.manifests)
    splits = _splits(facts)
    outputs = (_output(facts), *_index_output(facts))
    return Report(
        name=facts.spec.name,
        version=__version__,
        ok=identity_holds and not facts.problems,
        problems=tuple(facts.problems),
        warnings=tuple(warnings(facts, counts, splits)),
        started_at=facts.started_at,
        finished_at=facts.finished_at,
        wall_s=facts.wall_s,
        load_s=facts.load_s,
        counts=JobCounts(
            documents=counts.documents,
            chunks=counts.chunks,
            tokens=counts.tokens,
            embedded_tokens=counts.embedded_tokens,
        ),
        identity_holds=identity_holds,
        throughput=throughput,
        stages_s=sum((manifest.stages_s for manifest in facts.manifests), StageTimes()),
        padding_fraction=_padding(counts),
        truncated=Truncated(documents=counts.truncated_documents, tokens=counts.truncated_tokens),
        rejected_by_reason=counts.rejected_by_reason,
        rejected_examples=_first(facts.rejected_examples),
        duplicates_across_splits=facts.duplicates_across_splits,
        duplicate_examples=_first(facts.duplicate_examples),
        absent_fields=counts.absent_fields,
        peak_rss_bytes=max((m.peak_rss_bytes for m in fresh or facts.manifests), default=0),
        fingerprint=facts.fingerprint,
        resumed=Resumed(
            splits_reused=len(facts.manifests) - len(fresh),
            splits_embedded=len(fresh),
            documents_embedded=throughput.documents,
            documents_carried=done.carried_documents,
            chunks_reused=done.reused_chunks,
            chunks_embedded=done.embedded_chunks,
        ),
        hosts=tuple(facts.hosts),
        workers=_workers(facts, fresh, throughput.embedding_s),
        engines=tuple(facts.engines),
        splits=splits,
        machine=facts.machine,
        inputs=facts.inputs.model_copy(
            # A name that is not UTF-8 cannot stand in JSON.
            update={"ignored_examples": _first(map(excerpt, facts.inputs.ignored_examples))}
        ),
        outputs=outputs,
        sample=facts.sample,
        estimates=estimate(facts, counts, outputs[0].bytes, throughput),
        examples=tuple(facts.examples),
        spec=facts.spec.model_dump(mode="json"),
    )


def _first(items: Iterable[T]) -> tuple[T, ...]:
    return tuple(islice(items, MAX_EXAMPLES))


def _balanced(counts: SplitCounts) -> bool:
    return counts.documents.balanced and counts.chunks.balanced


def _padding(counts: SplitCounts) -> float:
    if not counts.padded_tokens:
        return 0.0
    return 1 - counts.embedded_tokens / counts.padded_tokens


def seconds(manifest: SplitManifest) -> float:
    """Seconds that the winning attempt took."""
    return max(0.0, manifest.finished_at - manifest.started_at)


def _throughput(facts: RunFacts, fresh: Sequence[SplitManifest]) -> Throughput:
    embedding_s = max(0.0, facts.wall_s - facts.load_s - facts.index_s)
    tokens = sum(map(_computed_tokens, fresh))
    documents = sum(
        manifest.counts.documents.written - manifest.counts.carried_documents for manifest in fresh
    )
    spent_s = sum(seconds(manifest) for manifest in facts.manifests)
    ever = sum(map(_computed_tokens, facts.manifests))
    return Throughput(
        tokens_per_s=tokens / embedding_s if embedding_s else 0.0,
        documents_per_s=documents / embedding_s if embedding_s else 0.0,
        documents=documents,
        tokens=tokens,
        embedding_s=embedding_s,
        committed_tokens_per_s_per_worker=ever / spent_s if spent_s else None,
    )


def _computed_tokens(manifest: SplitManifest) -> int:
    """Tokens of chunks whose vectors were not taken over from an earlier run."""
    return manifest.counts.tokens - manifest.counts.taken_over_tokens


def _splits(facts: RunFacts) -> tuple[SplitReport, ...]:
    times = [seconds(manifest) for manifest in facts.manifests]
    limit_s = float("inf")
    if len(times) >= _STRAGGLER_MIN_SPLITS:
        limit_s = max(_STRAGGLER_MIN_S, _STRAGGLER_FACTOR * statistics.median(times))
    return tuple(
        SplitReport(
            id=manifest.split[:12],
            file=_file(manifest),
            start=manifest.source.start,
            end=manifest.source.end,
            documents=manifest.counts.documents.written,
            tokens=manifest.counts.tokens,
            started_at=manifest.started_at,
            seconds=took,
            tokens_per_s=manifest.counts.tokens / took if took else 0.0,
            worker=manifest.worker,
            host=_host(facts, manifest),
            straggler=took > limit_s,
            reused=manifest.split not in facts.fresh,
        )
        for manifest, took in zip(facts.manifests, times, strict=True)
    )


def _file(manifest: SplitManifest) -> str:
    names = [name for name, _ in manifest.source.files]
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]}{more}" if names else ""


def _host(facts: RunFacts, manifest: SplitManifest) -> str | None:
    return manifest.host if facts.hosts else None


def _workers(
    facts: RunFacts, fresh: Sequence[SplitManifest], embedding_s: float
) -> tuple[WorkerReport, ...]:
    shares: defaultdict[tuple[str, int], list[SplitManifest]] = defaultdict(list)
    for manifest in fresh:
        shares[_host(facts, manifest) or "", manifest.worker].append(manifest)
    return tuple(_worker(who, share, embedding_s) for who, share in sorted(shares.items()))


def _worker(
    who: tuple[str, int], share: Sequence[SplitManifest], embedding_s: float
) -> WorkerReport:
    busy_s = sum(seconds(manifest) for manifest in share)
    return WorkerReport(
        worker=who[1],
        host=who[0] or None,
        splits=len(share),
        documents=sum(manifest.counts.documents.written for manifest in share),
        tokens=sum(manifest.counts.tokens for manifest in share),
        busy_s=busy_s,
        busy_fraction=min(1.0, busy_s / embedding_s) if embedding_s else 0.0,
        peak_rss_bytes=max(manifest.peak_rss_bytes for manifest in share),
    )


def _output(facts: RunFacts) -> OutputReport:
    parts = [part for manifest in facts.manifests for part in manifest.parts]
    return OutputReport(
        kind="parquet",
        uri=facts.spec.parquet.uri,
        files=len(parts),
        rows=sum(part.rows for part in parts),
        bytes=sum(part.bytes for part in parts),
    )


def _index_output(facts: RunFacts) -> Iterator[OutputReport]:
    if facts.index is not None:
        yield OutputReport(
            kind="opensearch",
            uri=f"{facts.index.url}/{facts.index.index}",
            files=0,
            rows=facts.index.rows.written,
            bytes=facts.index.delivery.bytes,
            index=facts.index,
        )
