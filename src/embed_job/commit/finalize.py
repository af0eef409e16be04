"""The end of a job: every split is there, the sums agree, no id is in two files; then commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from embed_job.commit.commits import Commits
from embed_job.commit.duplicates import Duplicates, find_duplicates
from embed_job.commit.ending import Ending
from embed_job.commit.gone import objections
from embed_job.commit.lease import Lease
from embed_job.commit.retire import Sweep
from embed_job.manifest import JobManifest, SplitCounts, SplitManifest, total
from embed_job.spec import JobSpec


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a job. problems: one sentence each; empty where the job is committed. retired:
    splits that were put aside; swept: files that were deleted."""

    counts: SplitCounts
    duplicates: Duplicates
    problems: tuple[str, ...]
    retired: int = 0
    swept: int = 0


def finalize(commits: Commits, ending: Ending, *, now: float) -> Verdict:
    """Check the whole and commit it as the next generation; idempotent. now: in Unix seconds.

    Only where nothing is wrong is the job manifest written, and what no live split names retired or
    removed. A run that is not newer than what is committed, or has lost its lease, does neither.
    """
    base, tag = commits.tagged_job()
    planned = tuple(ending.planned)
    late = _overtaken(base, ending.lease, planned)
    verdict = judge(commits, ending.spec, planned=planned, live=ending.live, problems=late)
    if not verdict.problems:
        verdict = replace(verdict, problems=tuple(objections(commits, ending, base)))
    if verdict.problems:
        return verdict
    job = JobManifest(
        name=ending.spec.name,
        generation=ending.lease.generation,
        fingerprint=ending.fingerprint,
        splits=planned,
        counts=verdict.counts,
        duplicates_across_splits=verdict.duplicates.count,
        finished_at=now,
    )
    if not (ending.lease.holds() and commits.commit_job(job, tag=tag)):
        return replace(verdict, problems=(_taken_over(ending.lease.lost_to),))
    swept = Sweep(
        commits,
        generation=job.generation,
        keep=ending.spec.refresh.keep_generations,
        holds=ending.lease.holds,
    ).run({split: ending.live[split] for split in planned}, ending.found)
    return replace(verdict, retired=swept.retired, swept=swept.removed)


def _overtaken(base: JobManifest | None, lease: Lease, planned: tuple[str, ...]) -> list[str]:
    if base is None or base.generation < lease.generation:
        return [] if lease.holds() else [_taken_over(lease.lost_to)]
    if base.generation == lease.generation and set(base.splits) == set(planned):
        return []  # this run's own commit, whose end was not told
    return [_taken_over("")]


def _taken_over(by: str | None) -> str:
    return (
        f"{by or 'a later run'} has taken over this output, so nothing was committed or removed "
        "here: that one counts; run or submit again where it does not come to its end"
    )


def judge(
    commits: Commits,
    spec: JobSpec,
    *,
    planned: Sequence[str],
    live: Mapping[str, SplitManifest],
    problems: Sequence[str] = (),
) -> Verdict:
    """What would come of a job that ended now; changes nothing.

    planned, live: as of Ending. problems: what is known to be wrong already.
    """
    manifests = [live[split] for split in planned if split in live]
    counts = total(manifest.counts for manifest in manifests)
    duplicates = find_duplicates(commits.store, commits.folder, manifests)
    problems = [
        *problems,
        *_missing(planned, live),
        *_unbalanced(manifests, counts),
        *_too_many_rejected(counts, spec.input.max_rejected_fraction),
        *_doubled(duplicates, allowed=spec.input.allow_duplicates_across_splits),
    ]
    return Verdict(counts, duplicates, tuple(problems))


def whole_of(
    commits: Commits, live: Mapping[str, SplitManifest], *, remove: bool
) -> tuple[dict[str, SplitManifest], list[str]]:
    """Those of the committed splits whose files are all there, and a problem if some are not.

    An upload that was cut short, or somebody's deletion, leaves a manifest without its files.
    remove: take such a manifest back, so that the next run embeds its split anew.
    """
    wrong = commits.incomplete(live.values())
    if not wrong:
        return dict(live), []
    if remove:
        for split in wrong:
            commits.withdraw(live[split])
    some = "; ".join(
        f"{split[:12]} of {live[split].source.files[0][0]}: {why}"
        for split, why in list(wrong.items())[:5]
    )
    then = (
        "their manifests were removed, so that the next run embeds them anew: run or submit again"
        if remove
        else "nothing was removed: run or submit again, whose end removes their manifests"
    )
    problem = f"{len(wrong)} committed splits are not whole ({some}); {then}"
    return {split: found for split, found in live.items() if split not in wrong}, [problem]


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
        f"{duplicates.count:,} ids occur in more than one file or split, such as {some}: give each "
        "document an id of its own, or set input.allow_duplicates_across_splits"
    ]
