"""What a report says of a job of several hosts, as far as they left word of it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from embed_job.commit.commits import Commits
from embed_job.commit.finalize import Verdict
from embed_job.fleet.order import JobOrder
from embed_job.fleet.records import HostRecord
from embed_job.manifest import DatasetDescriptor, SplitManifest
from embed_job.report.build import seconds
from embed_job.report.examples import rejected_examples
from embed_job.report.model import MAX_EXAMPLES, HostReport, Inputs, Machine, RunFacts

if TYPE_CHECKING:
    from embed_job.opensearch.load.load import LoadResult

_UNKNOWN = Machine(cores=0, cpu="unknown", python="unknown", platform="unknown")


def fleet_facts(
    order: JobOrder,
    descriptor: DatasetDescriptor | None,
    records: Sequence[HostRecord],
    manifests: Sequence[SplitManifest],
    verdict: Verdict,
    *,
    since: float,
    commits: Commits,
) -> RunFacts:
    """The facts of a job. manifests: all that count, in the order of the input. since: what was
    begun then or later is the job's own work, in Unix seconds."""
    started_at = min((record.started_at for record in records), default=order.created_at)
    finished_at = max(
        (record.finished_at for record in records),
        default=max((manifest.finished_at for manifest in manifests), default=time.time()),
    )
    fresh = [manifest for manifest in manifests if manifest.started_at >= since]
    return RunFacts(
        spec=order.spec,
        fingerprint=descriptor.fingerprint if descriptor else "",
        manifests=manifests,
        fresh=frozenset(manifest.split for manifest in fresh),
        inputs=Inputs(
            uri=order.spec.input.uri,
            files=order.files,
            bytes=order.bytes,
            splits=len(manifests) + _missing(verdict),
            ignored=len(order.ignored),
            ignored_examples=order.ignored[:MAX_EXAMPLES],
            hidden=order.hidden,
        ),
        machine=records[0].machine if records else _UNKNOWN,
        workers=sum(record.workers for record in records),
        started_at=started_at,
        finished_at=finished_at,
        wall_s=max(0.0, finished_at - started_at),
        load_s=max((record.load_s for record in records), default=0.0),
        problems=verdict.problems,
        incidents=[f"{record.host}: {line}" for record in records for line in record.incidents],
        rejected_examples=rejected_examples(commits.store, commits.folder, manifests),
        duplicates_across_splits=verdict.duplicates.count,
        duplicate_examples=[found.doc_id for found in verdict.duplicates.listed],
        engines=list(dict.fromkeys(engine for record in records for engine in record.engines)),
        hosts=host_reports(records, fresh),
    )


def with_index(
    facts: RunFacts, loaded: LoadResult | None, records: Sequence[HostRecord]
) -> RunFacts:
    """The facts with what became of the index, all hosts' deliveries together."""
    if loaded is None:
        return facts
    index = loaded.report
    if index is not None:
        hosts = [record.delivery for record in records if record.delivery is not None]
        index = index.model_copy(update={"delivery": sum(hosts, index.delivery)})
    return replace(facts, index=index, problems=[*facts.problems, *loaded.problems])


def _missing(verdict: Verdict) -> int:
    """One at least where something is wrong: then a report does not scale to the whole."""
    return 1 if verdict.problems else 0


def host_reports(records: Sequence[HostRecord], fresh: Sequence[SplitManifest]) -> list[HostReport]:
    """A row for each host that came to its end or committed something, by rank, then by name."""
    shares: defaultdict[str, list[SplitManifest]] = defaultdict(list)
    for manifest in fresh:
        shares[manifest.host].append(manifest)
    ended = {record.host: record for record in records}
    names = [*ended, *sorted(shares.keys() - ended.keys())]
    return [_host_report(name, shares[name], ended.get(name)) for name in names]


def _host_report(
    name: str, share: Sequence[SplitManifest], record: HostRecord | None
) -> HostReport:
    return HostReport(
        host=name,
        splits=len(share),
        documents=sum(manifest.counts.documents.written for manifest in share),
        tokens=sum(manifest.counts.tokens for manifest in share),
        busy_s=sum(seconds(manifest) for manifest in share),
        peak_rss_bytes=max((manifest.peak_rss_bytes for manifest in share), default=0),
        ended=record is not None,
        exit_code=record and record.exit_code,
        seconds=record and max(0.0, record.finished_at - record.started_at),
        workers=record and record.workers,
        machine=record and record.machine,
        engines=record.engines if record else (),
    )
