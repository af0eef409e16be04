"""The end of a job: every split is there, the sums agree, no id is in two splits; then commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from embed_job.commit.commits import Commits
from embed_job.commit.duplicates import Duplicates, find_duplicates
from embed_job.manifest import JobManifest, SplitCounts, SplitManifest, total
from embed_job.spec import JobSpec
from embed_job.storage import Store


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a job. problems: one sentence each; empty where the job is committed."""

    counts: SplitCounts
    duplicates: Duplicates
    problems: tuple[str, ...]
    swept: int


def finalize(
    store: Store,
    commits: Commits,
    spec: JobSpec,
    *,
    fingerprint: str,
    planned: Sequence[str],
    live: Mapping[str, SplitManifest],
    now: float,
    problems: Sequence[str] = (),
) -> Verdict:
    """Check the whole and commit it; idempotent.

    planned: identities of the input's splits; live: those committed; problems: what is known to be
    wrong already. Only where nothing is wrong is the job manifest written, and what no live split
    names removed.
    """
    verdict = judge(store, commits, spec, planned=planned, live=live, problems=problems)
    if verdict.problems:
        return verdict
    commits.commit_job(
        JobManifest(
            name=spec.name,
            fingerprint=fingerprint,
            splits=tuple(planned),
            counts=verdict.counts,
            duplicates_across_splits=verdict.duplicates.count,
            finished_at=now,
        )
    )
    swept = commits.sweep({split: live[split] for split in planned})
    return replace(verdict, swept=swept)


def judge(
    store: Store,
    commits: Commits,
    spec: JobSpec,
    *,
    planned: Sequence[str],
    live: Mapping[str, SplitManifest],
    problems: Sequence[str] = (),
) -> Verdict:
    """What would come of a job that ended now; changes nothing. Arguments as of finalize."""
    manifests = [live[split] for split in planned if split in live]
    counts = total(manifest.counts for manifest in manifests)
    duplicates = find_duplicates(store, commits.folder, manifests)
    problems = [
        *problems,
        *_missing(planned, live),
        *_unbalanced(manifests, counts),
        *_too_many_rejected(counts, spec.input.max_rejected_fraction),
        *_doubled(duplicates, allowed=spec.input.allow_duplicates_across_splits),
    ]
    return Verdict(counts, duplicates, tuple(problems), swept=0)


def _missing(planned: Sequence[str], live: Mapping[str, SplitManifest]) -> list[str]:
    missing = sum(split not in live for split in planned)
    if not missing:
        return []
    return [
        f"{missing} of {len(planned)} splits are not committed yet: run the same command again, "
        "it goes on from here"
    ]


def _unbalanced(manifests: Sequence[SplitManifest], counts: SplitCounts) -> list[str]:
    wrong = [
        manifest.split[:12]
        for manifest in manifests
        if not (manifest.counts.documents.balanced and manifest.counts.chunks.balanced)
        or sum(part.rows for part in manifest.parts) != manifest.counts.chunks.written
    ]
    if not wrong and counts.documents.balanced and counts.chunks.balanced:
        return []
    return [
        f"read = written + rejected + skipped does not hold in {len(wrong)} splits "
        f"({', '.join(wrong[:5])}): this is a bug, please report it"
    ]


def _too_many_rejected(counts: SplitCounts, limit: float) -> list[str]:
    documents = counts.documents
    if documents.rejected <= limit * documents.read:
        return []
    top = max(counts.rejected_by_reason.items(), key=lambda item: item[1])
    return [
        f"{documents.rejected:,} of {documents.read:,} documents were rejected, most of them "
        f"({top[1]:,}) for {top[0]}: mend the input or its fields, or raise "
        f"input.max_rejected_fraction (now {limit:g})"
    ]


def _doubled(duplicates: Duplicates, *, allowed: bool) -> list[str]:
    if allowed or not duplicates.count:
        return []
    some = ", ".join(repr(found.doc_id[:60]) for found in duplicates.listed[:3])
    return [
        f"{duplicates.count:,} ids occur in more than one split, such as {some}: give each "
        "document an id of its own, or set input.allow_duplicates_across_splits"
    ]
