"""The end of a job: every split is there, the sums agree, no id is in two files; then commit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    objections: Callable[[], Sequence[str]] = tuple,
) -> Verdict:
    """Check the whole and commit it; idempotent.

    planned: identities of the input's splits; live: those committed and whole; objections: asked
    right before the commit for problems that only the caller can see. Only where nothing is wrong
    is the job manifest written, and what no live split names removed.
    """
    verdict = judge(store, commits, spec, planned=planned, live=live)
    if not verdict.problems:
        verdict = replace(verdict, problems=tuple(objections()))
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
    """What would come of a job that ended now; changes nothing.

    problems: what is known to be wrong already; other arguments as of finalize.
    """
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
