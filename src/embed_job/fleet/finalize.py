"""The end of a job of several hosts: is all of it there, then commit it and report. Loads no model.

The host that sees that all is done calls it, or ``embed-job finalize`` where that host died.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ConfigDict

from embed_job.commit.commits import Commits, read_record
from embed_job.commit.finalize import Verdict, finalize, judge, whole_of
from embed_job.errors import ExitCode
from embed_job.fleet import Host
from embed_job.fleet.cover import uncovered
from embed_job.fleet.hosts import fleet_facts, with_index
from embed_job.fleet.listing import iter_listed
from embed_job.fleet.order import ORDER_FILE, JobOrder
from embed_job.fleet.records import HostRecord, JobFolder, JobRecord
from embed_job.manifest import Record, SplitManifest
from embed_job.report.build import build_report
from embed_job.report.html import render_html
from embed_job.report.model import Report
from embed_job.report.write import render_json
from embed_job.source.listing import ListedFile
from embed_job.storage import Store, list_files, resolve

if TYPE_CHECKING:
    from embed_job.opensearch.load.load import LoadResult


@dataclass(frozen=True, slots=True)
class Ended:
    """How a job ended. loaded: what became of its index; None where that was not looked at."""

    verdict: Verdict
    report: Report
    loaded: LoadResult | None


@dataclass(frozen=True, slots=True)
class Gathered:
    """What the hosts of a job say was to be done. problems: why that is not all of it."""

    planned: tuple[str, ...]
    without_splits: tuple[str, ...]
    problems: tuple[str, ...]


def finalize_job(
    target: Store,
    folder: str,
    job: str,
    order: JobOrder,
    listing: Path | None,
    *,
    host: Host | None,
) -> tuple[Verdict, Report]:
    """Check a whole job and, where nothing is wrong, commit it; idempotent.

    folder: the output's, which target holds. listing: the job's listing file; None where there was
    none, and then nobody can tell whether files were left out. host: who calls; None: no host of
    the job. A job that is committed already is judged and reported again, and nothing is removed:
    a later job may be at work on the output. Where a later job or run has taken over the output,
    nothing is committed nor removed either, and that is a problem.

    Guarantee: a job is not committed while a host of it has not come to a good end (sharded), a
    split of its plan is not committed (balanced) or a file of a split is not there. A manifest
    without its files is removed, so no host of the job may be at work any more. Leaves report.json
    and report.html in the job's folder, and job.json there last. Raises OutputError.
    """
    listed = None if listing is None else partial(iter_listed, listing)
    ended = end_job(target, resolve(folder), job, order, listed, host=host)
    return ended.verdict, ended.report


def end_job(
    target: Store,
    folder: str,
    job: str,
    order: JobOrder,
    listed: Callable[[], Iterator[ListedFile]] | None,
    *,
    host: Host | None,
    load: Callable[[], LoadResult | None] = lambda: None,
) -> Ended:
    """As finalize_job; listed: streams the job's listing. load: brings the index to what is
    committed; its problems are the report's, and not the verdict's."""
    commits, room = Commits(target, folder), JobFolder(target, folder, job)
    descriptor = commits.descriptor()
    fingerprint = descriptor.fingerprint if descriptor else ""
    records = room.hosts()
    gathered = gather(order, room, records)
    ended = room.end() is not None
    overtaken = partial(_overtaken, commits, target, job, order, gathered.planned)
    lost = [] if ended else overtaken()
    live = commits.committed(fingerprint) if descriptor else {}
    problems = [*lost, *gathered.problems, *_foreign_input(gathered, live)]
    if not gathered.problems:
        live = {split: live[split] for split in gathered.planned if split in live}
    live, incomplete = whole_of(commits, live, remove=not ended and not lost)
    problems += incomplete
    manifests = in_order([live[split] for split in gathered.planned if split in live])
    if not problems and listed is not None and len(manifests) == len(gathered.planned):
        problems += uncovered(listed(), manifests, without_splits=gathered.without_splits)
    planned = [manifest.split for manifest in manifests]
    planned += [split for split in gathered.planned if split not in live]
    if ended or problems:
        verdict = judge(target, commits, order.spec, planned=planned, live=live, problems=problems)
    else:
        verdict = finalize(
            target,
            commits,
            order.spec,
            fingerprint=fingerprint,
            planned=planned,
            live=live,
            now=time.time(),
            objections=overtaken,
        )
    loaded = load() if not verdict.problems else None
    records = room.hosts() if loaded else records  # more have ended meanwhile
    facts = fleet_facts(order, descriptor, records, manifests, verdict, store=target, folder=folder)
    report = build_report(with_index(facts, loaded, records))
    room.write_report("report.json", render_json(report))
    room.write_report("report.html", render_html(report).encode())
    if not verdict.problems and not ended:
        room.write_end(_end(job, host, records, verdict, splits=len(planned)))
    return Ended(verdict, report, loaded)


def gather(order: JobOrder, room: JobFolder, records: Sequence[HostRecord]) -> Gathered:
    """What was to be done, by the hosts' records or by the plan that they share."""
    if order.shares_one_plan:
        plan = room.plan()
        if plan is None:
            return Gathered((), (), ("no host has made its plan yet: see the logs of the hosts",))
        return Gathered(plan.planned, plan.without_splits, ())
    planned = dict.fromkeys(split for record in records for split in record.planned or ())
    without = (name for record in records for name in record.without_splits)
    return Gathered(tuple(planned), tuple(without), tuple(_not_ended(records)))


def _not_ended(records: Sequence[HostRecord]) -> list[str]:
    if not records:
        return ["no host has come to its end: see the logs of the hosts"]
    count = max(record.count for record in records)
    missing = sorted(set(range(count)) - {record.rank for record in records})
    problems = [
        f"{record.host} ended with exit code {record.exit_code}"
        f" ({'; '.join(record.problems)}): submit the job again, it goes on from here"
        for record in records
        if record.exit_code != ExitCode.OK
    ]
    if missing:
        numbers = ", ".join(str(rank) for rank in missing[:10])
        problems.append(
            f"{len(missing)} of {count} hosts have not come to their end (rank {numbers}): "
            "wait for them, or submit the job again where they are gone"
        )
    return problems


def _foreign_input(gathered: Gathered, live: dict[str, SplitManifest]) -> list[str]:
    if gathered.problems or gathered.planned or not live:
        return []
    return [
        f"the output holds {len(live)} committed splits, but the input is empty now: check "
        "input.uri; if the corpus is really gone, delete the output folder"
    ]


class _OrderDate(Record):
    """What an order of any version tells."""

    model_config = ConfigDict(extra="ignore")

    created_at: float


_ORDER = re.compile(rf"([^/]+)/input/{re.escape(ORDER_FILE)}")


def _overtaken(
    commits: Commits, target: Store, job: str, order: JobOrder, planned: Sequence[str]
) -> list[str]:
    """Who has taken over the output since a job was ordered; to commit it would roll that back.

    A later commit of the very same splits is this job's own, or does as well.
    """
    then = "so nothing was committed or removed here: that one counts; finalize or submit it again"
    newest, created_at = "", order.created_at
    for other, key in _orders(commits, target):
        found = read_record(target, key, _OrderDate) if other != job else None
        if found is not None and found.created_at > created_at:
            newest, created_at = other, found.created_at
    if newest:
        return [f"the newer job {newest} has taken over this output, {then}"]
    committed = commits.job()
    if committed is None or committed.finished_at <= order.created_at:
        return []
    if set(committed.splits) == set(planned):
        return []
    return [f"another run has committed this output since this job was submitted, {then}"]


def _orders(commits: Commits, target: Store) -> Iterator[tuple[str, str]]:
    """Every job with an order in the output, and the order's key."""
    folder = f"{commits.key('jobs')}/"
    for file in list_files(target, folder.rstrip("/")):
        if found := _ORDER.fullmatch(file.key.removeprefix(folder)):
            yield found[1], file.key


def in_order(manifests: Sequence[SplitManifest]) -> list[SplitManifest]:
    """Manifests in the order of the input, as far as they tell it."""
    return sorted(manifests, key=lambda m: (m.source.files[0][0], m.source.start, m.split))


def _end(
    job: str, host: Host | None, records: Sequence[HostRecord], verdict: Verdict, *, splits: int
) -> JobRecord:
    return JobRecord(
        job=job,
        finalized_by=host.name if host else "embed-job finalize",
        finalized_at=time.time(),
        hosts=tuple(record.host for record in records),
        splits=splits,
        counts=verdict.counts,
    )
