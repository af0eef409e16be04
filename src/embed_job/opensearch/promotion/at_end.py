"""What follows a load within a run or a job: query vectors kept, the index promoted if so asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from embed_job.dataset import Dataset
from embed_job.errors import ExitCode, OutputError, UserError
from embed_job.opensearch.canary.run import Candidate, keep_queries
from embed_job.opensearch.client import connect
from embed_job.opensearch.errors import explained
from embed_job.opensearch.index.alias import alias_of, described, holder_of
from embed_job.opensearch.index.meta import describe_index, meta_of
from embed_job.opensearch.load.load import LoadResult
from embed_job.opensearch.patience import PATIENT
from embed_job.opensearch.promotion.gates import Passage
from embed_job.opensearch.promotion.promote import Promoted, promote_past_gates
from embed_job.opensearch.target import IndexTarget
from embed_job.progress import Progress
from embed_job.report.model import PromotionReport
from embed_job.spec import JobSpec


def promote_at_end(
    spec: JobSpec,
    dataset: Dataset,
    loaded: LoadResult,
    *,
    bundle: Path,
    write_page: Callable[[bytes], str],
    progress: Progress,
) -> LoadResult:
    """The result of a load once what the spec wants after it is done: with promote: auto the
    index passes its gates and gets the alias, unless it had that before and was rolled back from
    or replaced; with a canary the queries' vectors are kept.

    Nothing is done where the load was no success. dataset: the output as committed; bundle: of the
    model that made it; write_page: puts the canary's page somewhere, and tells where.

    Raises neither UserError nor OSError: whatever goes wrong is a problem of the result, as the
    output and the index are there.
    """
    output = spec.opensearch
    if output is None or loaded.problems or loaded.report is None or not loaded.report.finished:
        return loaded
    if output.promote == "manual" and output.gates.canary is None:
        return loaded
    target = IndexTarget(output, dataset.descriptor)
    try:
        with explained(f"{output.url}/{target.name}"), connect(output) as client:
            candidate = Candidate(client, target, dataset, bundle)
            if output.promote == "manual" or _is_live(candidate):
                return _kept(candidate, loaded)
            if why := _why_left(candidate):
                return _left(loaded, target, why)
            progress.event("index", step=f"checking {target.name} before its promotion")
            promoted = promote_past_gates(candidate)
    except (UserError, OSError) as error:
        return _failed(loaded, target, error)
    return _told(loaded, target, promoted, write_page)


def _is_live(candidate: Candidate) -> bool:
    alias, where = alias_of(candidate.target)
    return holder_of(candidate.client, alias, where=where) == candidate.target.name


def _why_left(candidate: Candidate) -> str | None:
    """Why only a person may put the alias on the index; None: a run may."""
    client, target = candidate.client, candidate.target
    _, meta = described(client, target, PATIENT)
    if meta.withdrawn:
        return "was rolled back from"
    alias, where = alias_of(target)
    live = holder_of(client, alias, where=where)
    found = describe_index(client, live, where=where, patience=PATIENT) if live else None
    successor = meta_of(found or {})
    # Else two schedules, of the old model and of the new one, would take it from each other.
    if successor is not None and 0 < meta.promoted < successor.promoted:
        return f"was replaced by {live}"
    return None


def _left(loaded: LoadResult, target: IndexTarget, why: str) -> LoadResult:
    """The result where only a person may promote the index."""
    note = f"{target.name} {why}: `embed-job promote SPEC` puts the alias on it again"
    report = PromotionReport(alias=str(target.alias), promoted=False, notes=(note,))
    return _with(loaded, report)


def _with(loaded: LoadResult, promotion: PromotionReport) -> LoadResult:
    assert loaded.report is not None  # noqa: S101 - promote_at_end has seen to it
    index = loaded.report.model_copy(update={"promotion": promotion})
    return replace(loaded, report=index)


def _kept(candidate: Candidate, loaded: LoadResult) -> LoadResult:
    limits = candidate.target.output.gates.canary
    if limits is not None:
        keep_queries(candidate, limits)
    return loaded


def _failed(loaded: LoadResult, target: IndexTarget, error: UserError | OSError) -> LoadResult:
    if isinstance(error, OSError):
        error = OutputError(target.name, str(error), "")
    problem = (
        f"the index {target.name} is loaded, but what follows failed: {str(error).rstrip('. ')}. "
        "`embed-job promote SPEC` tells where the alias is, and goes on"
    )
    return replace(loaded, problems=(*loaded.problems, problem), exit_code=error.exit_code)


def _told(
    loaded: LoadResult,
    target: IndexTarget,
    promoted: Promoted,
    write_page: Callable[[bytes], str],
) -> LoadResult:
    """The result with what became of the alias, and with a problem where it was not moved."""
    passage, promotion = promoted.passage, promoted.promotion
    page, notes = _written(passage, write_page)
    failed = passage.failed if passage else ()
    canary = [one.detail for one in passage.canary if one.figure is not None] if passage else []
    report = PromotionReport(
        alias=str(target.alias),
        promoted=promotion is not None,
        previous=promotion.previous if promotion else None,
        checks=sum(not one.skipped for one in passage.checks) if passage else 0,
        failed=tuple(one.name for one in failed),
        canary="; ".join(canary) or None,
        page=page,
        deleted=promoted.pruned.deleted,
        stayed=promoted.pruned.stayed,
        notes=notes,
    )
    problems = loaded.problems
    if failed:
        told = "; ".join(f"{one.name} ({one.detail})" for one in failed)
        told += f"; both answers side by side: {page}" if page else ""
        problems = (
            *problems,
            f"{target.name} is not promoted, {target.alias} stays where it is: {told}",
        )
    code = ExitCode.INCOMPLETE if problems else loaded.exit_code
    return replace(_with(loaded, report), problems=problems, exit_code=code)


def _written(
    passage: Passage | None, write_page: Callable[[bytes], str]
) -> tuple[str | None, tuple[str, ...]]:
    """Where the canary's page is, and the notes; one of them, where it can't be written."""
    if passage is None or passage.page is None:
        return None, passage.notes if passage else ()
    try:
        return write_page(passage.page), passage.notes
    except (UserError, OSError) as error:
        return None, (*passage.notes, f"the canary's page could not be written: {error}")
