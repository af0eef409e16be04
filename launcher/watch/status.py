"""How a job stands, as facts: for people, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from launcher.aws.clients import Clients
from launcher.watch.jobs import JobState, console_link
from launcher.watch.progress import JobProgress, ProgressReader


@dataclass(frozen=True, slots=True)
class Status:
    """A job and its progress. progress: None where the job is not one of ours."""

    job: JobState
    progress: JobProgress | None

    def as_json(self) -> dict[str, Any]:
        """Plain values; times in ISO 8601."""
        facts = {
            key: value.isoformat() if isinstance(value, datetime) else value
            for key, value in asdict(self.job).items()
        }
        return facts | {
            "output": self.job.output,
            "console": console_link(self.job.arn),
            "progress": asdict(self.progress) if self.progress else None,
        }

    def lines(self) -> Iterator[tuple[str, str]]:
        """Names and values to print."""
        job = self.job
        yield "job", job.name
        yield "status", job.status
        yield "created", _shown(job.created_at)
        if job.started_at:
            yield "started", _shown(job.started_at)
        if job.ended_at:
            yield "ended", _shown(job.ended_at)
        if job.instances:
            yield "instances", job.instances
        if self.progress:
            yield "progress", self.progress.shown()
        if job.output:
            yield "output", job.output
        if job.exit_message:
            yield "exit message", job.exit_message
        if job.failure_reason:
            yield "failure", job.failure_reason
        yield "console", console_link(job.arn)


def status_of_job(clients: Clients, job: JobState) -> Status:
    """The status of a job that has been described. Raises what the store raises."""
    if job.prefix is None or job.output is None:
        return Status(job, None)
    return Status(job, ProgressReader(clients.store, job.output, job.prefix).look())


def _shown(at: datetime) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
