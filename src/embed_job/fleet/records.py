"""What hosts leave in their job's own folder: what each did, and how the job ended."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

from embed_job.commit.commits import Commits, encode_record, read_record
from embed_job.engine.facts import EngineFacts
from embed_job.manifest import FORMAT_VERSION, Record, SplitCounts
from embed_job.report.model import DeliveryFacts, Machine
from embed_job.storage import Store, list_files


class Admission(Record):
    """Whether a job works on its output, the same for all of its hosts; created by the first of
    them that knows.

    generation: of its lease; 0 where it does not work. left_to: the run that held the output then,
    which the whole job is left to; "" where it works. at: in Unix seconds.
    """

    format_version: int = FORMAT_VERSION
    generation: int
    left_to: str
    at: float


class HostRecord(Record):
    """One host at its end. Written last, so a host that died has none.

    planned: identities of the splits of its share, committed before or not; None where all hosts
    share one plan. without_splits: its files that hold nothing to embed. embedded, counts: what
    this host committed. exit_code as of :class:`embed_job.errors.ExitCode`. Unix seconds.
    engines: that its workers ran on. delivery: what it sent to the index while it embedded, where
    there is one.
    """

    format_version: int = FORMAT_VERSION
    host: str
    rank: int
    count: int
    planned: tuple[str, ...] | None
    without_splits: tuple[str, ...]
    embedded: int
    counts: SplitCounts
    exit_code: int
    problems: tuple[str, ...]
    incidents: tuple[str, ...]
    workers: int
    load_s: float
    machine: Machine
    engines: tuple[EngineFacts, ...] = ()
    started_at: float
    finished_at: float
    delivery: DeliveryFacts | None = None


class PlanRecord(Record):
    """The splits of a job whose hosts share one plan; created by whoever had it first."""

    format_version: int = FORMAT_VERSION
    planned: tuple[str, ...]
    without_splits: tuple[str, ...]


class JobRecord(Record):
    """How a job ended: written when its output is committed, after everything else."""

    format_version: int = FORMAT_VERSION
    job: str
    finalized_by: str
    finalized_at: float
    hosts: tuple[str, ...]
    splits: int
    counts: SplitCounts


class JobFolder:
    """The job's own folder below its output: ``_embed_job/jobs/<job>/``."""

    def __init__(self, store: Store, folder: str, job: str) -> None:
        self.store = store
        self._commits = Commits(store, folder)
        self.job = job

    def key(self, *names: str) -> str:
        return self._commits.key("jobs", self.job, *names)

    def write_host(self, record: HostRecord) -> None:
        self.store.replace(self.key("hosts", f"{record.host}.json"), encode_record(record))

    def hosts(self) -> list[HostRecord]:
        """Every host that came to its end, by rank."""
        found = (read_record(self.store, key, HostRecord) for key in self._host_keys())
        return sorted((record for record in found if record), key=lambda record: record.rank)

    def _host_keys(self) -> Iterator[str]:
        files = list_files(self.store, self.key("hosts"))
        return (file.key for file in files if file.key.endswith(".json"))

    def admit(self, admission: Admission) -> Admission:
        """The admission in force: this one, or that of the host that was first."""
        if self.store.create(self.key("admission.json"), encode_record(admission)):
            return admission
        return self.admission() or admission

    def admission(self) -> Admission | None:
        """None: no host has got so far."""
        return read_record(self.store, self.key("admission.json"), Admission)

    def agree(self, plan: PlanRecord) -> PlanRecord:
        """The plan in force: this one, or that of the host that was first."""
        key = self.key("plan.json")
        if self.store.create(key, encode_record(plan)):
            return plan
        return self.plan() or plan

    def plan(self) -> PlanRecord | None:
        return read_record(self.store, self.key("plan.json"), PlanRecord)

    def may_finalize(self, host: str) -> bool:
        """True for one host of a job, and once: the others see that it is being ended."""
        mark = f'{{"host": "{host}", "nonce": "{secrets.token_hex(8)}"}}\n'
        return self.store.create(self.key("finalizing"), mark.encode())

    def end(self) -> JobRecord | None:
        """How the job ended; None where it has not."""
        return read_record(self.store, self.key("job.json"), JobRecord)

    def write_end(self, record: JobRecord) -> None:
        self.store.replace(self.key("job.json"), encode_record(record))

    def write_report(self, name: str, data: bytes) -> None:
        self.store.replace(self.key(name), data)
