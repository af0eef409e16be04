"""The end of a job of several hosts: is all of it there, then commit it and report. Loads no model.

The host that sees that all is done calls it, or ``embed-job finalize`` where that host died.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from embed_job.commit.commits import Commits
from embed_job.commit.ending import Ending
from embed_job.commit.finalize import Verdict, finalize, judge, whole_of
from embed_job.commit.lease import HeldError, Holder, Lease, Rhythm
from embed_job.fleet.admission import resumed
from embed_job.fleet.cover import uncovered
from embed_job.fleet.gather import foreign_input, gather, in_order
from embed_job.fleet.hosts import fleet_facts, with_index
from embed_job.fleet.listing import iter_listed
from embed_job.fleet.order import JobOrder
from embed_job.fleet.records import HostRecord, JobFolder, JobRecord
from embed_job.manifest import SplitManifest
from embed_job.report.build import build_report
from embed_job.report.html import render_html
from embed_job.report.model import Report
from embed_job.report.write import render_json
from embed_job.source.listing import ListedFile, key_of
from embed_job.storage import Store, resolve, store_for

if TYPE_CHECKING:
    from embed_job.opensearch.load.load import LoadResult


@dataclass(frozen=True, slots=True)
class Ended:
    """How a job ended. loaded: what became of its index; None where that was not looked at."""

    verdict: Verdict
    report: Report
    loaded: LoadResult | None


def finalize_job(
    target: Store,
    folder: str,
    job: str,
    order: JobOrder,
    listing: Path | None,
    *,
    rhythm: Rhythm | None = None,
) -> tuple[Verdict, Report]:
    """Check a whole job from elsewhere than its hosts and, where nothing is wrong, commit it;
    idempotent.

    folder: the output's, which target holds. listing: the job's listing file; None where there was
    none, and then nobody can tell whether files were left out. A job that is committed already is
    judged and reported again, and nothing is removed: a later job may be at work on the output.
    Where a later job or run has taken over the output, nothing is committed nor removed either, and
    that is a problem.

    Guarantee: a job is not committed while a host of it has not come to a good end (sharded), a
    split of its plan is not committed (balanced) or a file of a split is not there. A manifest
    without its files is removed, so no host of the job may be at work any more. Leaves report.json
    and report.html in the job's folder, and job.json there last. Raises OutputError.
    """
    listed = None if listing is None else partial(iter_listed, listing)
    folder = resolve(folder)
    room, commits = JobFolder(target, folder, job), Commits(target, folder)
    whole = WholeJob(room, commits, order, listed)
    if room.end() is not None:
        ended = whole.tell(())
        return ended.verdict, ended.report
    holder = Holder(job, platform.node(), alone=True)
    try:
        lease = resumed(room, commits, holder, rhythm=rhythm or Rhythm())
    except HeldError as held:
        ended = whole.tell(
            (f"{held.what}, so nothing was committed or removed here: that one counts",)
        )
        return ended.verdict, ended.report
    with lease:
        ended = whole.end(lease, by="embed-job finalize")
    return ended.verdict, ended.report


class WholeJob:
    """All that the hosts of a job have done, to be judged, committed and reported."""

    def __init__(
        self,
        room: JobFolder,
        commits: Commits,
        order: JobOrder,
        listed: Callable[[], Iterator[ListedFile]] | None,
    ) -> None:
        """listed: streams the job's listing."""
        self._room = room
        self._commits = commits
        self._order = order
        self._listed = listed
        self._descriptor = commits.descriptor()
        self._records = room.hosts()
        self._gathered = gather(order, room, self._records)
        self._found = commits.committed(self._fingerprint) if self._descriptor else {}

    @property
    def _fingerprint(self) -> str:
        return self._descriptor.fingerprint if self._descriptor else ""

    def tell(self, problems: Sequence[str]) -> Ended:
        """Judge and report it, and commit or remove nothing. problems: known already."""
        live, manifests, more = self._looked_at(remove=False)
        verdict = judge(
            self._commits,
            self._order.spec,
            planned=self._in_order(manifests),
            live=live,
            problems=[*problems, *more],
        )
        return self._report(verdict, manifests, None)

    def end(
        self, lease: Lease, *, by: str, load: Callable[[], LoadResult | None] = lambda: None
    ) -> Ended:
        """As finalize_job. lease: of the job. by: who ends it. load: brings the index to what is
        committed; its problems are the report's, and not the verdict's."""
        overtaken = _overtaken(self._commits, self._order, self._records, self._gathered.planned)
        live, manifests, more = self._looked_at(remove=not overtaken and lease.holds())
        planned = self._in_order(manifests)
        if problems := [*overtaken, *more]:
            verdict = judge(
                self._commits, self._order.spec, planned=planned, live=live, problems=problems
            )
        else:
            verdict = finalize(self._commits, self._ending(planned, live, lease), now=time.time())
        loaded = load() if not verdict.problems else None
        self._records = self._room.hosts() if loaded else self._records  # more have ended meanwhile
        ended = self._report(verdict, manifests, loaded)
        if not verdict.problems:
            self._room.write_end(self._end_record(by, verdict, splits=len(planned)))
        return ended

    def _looked_at(
        self, *, remove: bool
    ) -> tuple[dict[str, SplitManifest], list[SplitManifest], list[str]]:
        """The committed splits that are whole, those of the job in order, and what is wrong."""
        gathered, live = self._gathered, self._found
        problems = [*gathered.problems, *foreign_input(gathered, live)]
        if not gathered.problems:
            live = {split: live[split] for split in gathered.planned if split in live}
        live, incomplete = whole_of(self._commits, live, remove=remove)
        problems += incomplete
        manifests = in_order([live[split] for split in gathered.planned if split in live])
        if not problems and self._listed is not None and len(manifests) == len(gathered.planned):
            without = gathered.without_splits
            problems += uncovered(self._listed(), manifests, without_splits=without)
        return live, manifests, problems

    def _in_order(self, manifests: Sequence[SplitManifest]) -> list[str]:
        there = [manifest.split for manifest in manifests]
        known = set(there)
        return there + [split for split in self._gathered.planned if split not in known]

    def _ending(
        self, planned: Sequence[str], live: Mapping[str, SplitManifest], lease: Lease
    ) -> Ending:
        uri = resolve(self._order.spec.input.uri)
        source = store_for(uri)
        return Ending(
            spec=self._order.spec,
            fingerprint=self._fingerprint,
            planned=planned,
            live=live,
            found=self._found,
            without_splits=self._gathered.without_splits,
            size_of=lambda name: source.stat(key_of(uri, name)).size,
            lease=lease,
        )

    def _report(
        self, verdict: Verdict, manifests: Sequence[SplitManifest], loaded: LoadResult | None
    ) -> Ended:
        facts = fleet_facts(
            self._order,
            self._descriptor,
            self._records,
            manifests,
            verdict,
            since=_since(self._order, self._room, self._records),
            commits=self._commits,
        )
        report = build_report(with_index(facts, loaded, self._records))
        self._room.write_report("report.json", render_json(report))
        self._room.write_report("report.html", render_html(report).encode())
        return Ended(verdict, report, loaded)

    def _end_record(self, by: str, verdict: Verdict, *, splits: int) -> JobRecord:
        return JobRecord(
            job=self._room.job,
            finalized_by=by,
            finalized_at=time.time(),
            hosts=tuple(record.host for record in self._records),
            splits=splits,
            counts=verdict.counts,
        )


def _overtaken(
    commits: Commits, order: JobOrder, records: Sequence[HostRecord], planned: Sequence[str]
) -> list[str]:
    """Who has committed the output since a job began whose hosts could not see it, and so have no
    generation; to commit it would roll that back.

    A later commit of the very same splits is this job's own, or does as well.
    """
    committed = commits.job() if order.is_uploaded else None
    began_at = min((record.started_at for record in records), default=order.created_at)
    if committed is None or committed.finished_at <= began_at:
        return []
    if set(committed.splits) == set(planned):
        return []
    return [
        "another run has committed this output since this job began, so nothing was committed or "
        "removed here: that one counts; finalize or submit it again"
    ]


def _since(order: JobOrder, room: JobFolder, records: Sequence[HostRecord]) -> float:
    """When the job's hosts began, in Unix seconds; one that died may have been the first."""
    admission = None if order.is_uploaded else room.admission()
    if admission is not None:
        return admission.at
    return min((*(record.started_at for record in records), order.created_at))
