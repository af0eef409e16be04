"""What DescribeProcessingJob would answer, kept as a file of this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import orjson

from embed_job.errors import ExitCode

Status = Literal["InProgress", "Completed", "Failed", "Stopping", "Stopped"]

DESCRIBE_FILE = "describe.json"


@dataclass(frozen=True, slots=True)
class Described:
    """A job and how it stands. Times in Unix seconds; None where the job did not get so far.

    stopped_by: the exit code that tells of the signal which stopped it; no part of the answer.
    """

    job: str
    arn: str
    status: Status
    request: Mapping[str, Any]
    created_at: float
    changed_at: float
    started_at: float | None = None
    ended_at: float | None = None
    failure_reason: str | None = None
    exit_message: str | None = None
    stopped_by: ExitCode | None = None

    @property
    def completed(self) -> bool:
        return self.status == "Completed"

    def as_answer(self) -> dict[str, Any]:
        """In the shape of DescribeProcessingJob's answer; fields without a value are left out."""
        # Tags are no part of that answer.
        facts: dict[str, Any] = {k: v for k, v in self.request.items() if k != "Tags"}
        facts |= {
            "ProcessingJobArn": self.arn,
            "ProcessingJobStatus": self.status,
            "ExitMessage": self.exit_message,
            "FailureReason": self.failure_reason,
            "CreationTime": _iso(self.created_at),
            "ProcessingStartTime": _iso(self.started_at),
            "ProcessingEndTime": _iso(self.ended_at),
            "LastModifiedTime": _iso(self.changed_at),
        }
        return {name: value for name, value in facts.items() if value is not None}

    def write(self, folder: Path) -> None:
        """Keep it in folder/describe.json, never seen in part."""
        path = folder / DESCRIBE_FILE
        temporary = path.with_suffix(".tmp")
        temporary.write_bytes(orjson.dumps(self.as_answer(), option=orjson.OPT_INDENT_2) + b"\n")
        temporary.replace(path)


def _iso(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat()
