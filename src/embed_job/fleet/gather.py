"""What was to be done in a job of several hosts, by what they left word of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from embed_job.errors import ExitCode
from embed_job.fleet.order import JobOrder
from embed_job.fleet.records import HostRecord, JobFolder
from embed_job.manifest import SplitManifest


@dataclass(frozen=True, slots=True)
class Gathered:
    """What the hosts of a job say was to be done. problems: why that is not all of it."""

    planned: tuple[str, ...]
    without_splits: tuple[str, ...]
    problems: tuple[str, ...]


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


def foreign_input(gathered: Gathered, live: Mapping[str, SplitManifest]) -> list[str]:
    """A problem where a job over nothing would replace what is committed."""
    if gathered.problems or gathered.planned or not live:
        return []
    return [
        f"the output holds {len(live)} committed splits, but the input is empty now: check "
        "input.uri; if the corpus is really gone, delete the output folder"
    ]


def in_order(manifests: Sequence[SplitManifest]) -> list[SplitManifest]:
    """Manifests in the order of the input, as far as they tell it."""
    return sorted(manifests, key=lambda m: (m.source.files[0][0], m.source.start, m.split))
