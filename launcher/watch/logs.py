"""A job's log: the lines of all of its hosts, from CloudWatch Logs."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
from botocore.exceptions import ClientError

from embed_job.storage.retry import code_of
from launcher.local.tail import sentence

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

LOG_GROUP = "/aws/sagemaker/ProcessingJobs"
STREAMS_A_READ = 20
LINES_A_READ = 1000
"""Of one host, so that a talkative one leaves room for the others."""
MAX_WIDTH = 2000
_MAX_PAGES = 20
MAX_LAST_READS = 1000
MAX_LAST_LINES = 20_000
"""What is read and told at a job's end; what is more is left to `embed-job logs`."""
TAIL_LINES = 20


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of one host. at: Unix seconds."""

    at: float
    host: str
    text: str

    def shown(self) -> str | None:
        """As a person reads it; None for what is for machines alone."""
        told = _readable(self.text)
        if not told:
            return None
        return f"{datetime.fromtimestamp(self.at, UTC):%H:%M:%S} {self.host} | {told}"


def _readable(text: str) -> str:
    """A line of the container's JSON as a sentence, any other as it is, in printable characters."""
    if text.startswith("{"):
        try:
            facts = orjson.loads(text)
        except orjson.JSONDecodeError:
            facts = None
        if isinstance(facts, dict):
            text = sentence(facts)
    plain = "".join(char if char.isprintable() else " " for char in text).rstrip()
    return plain if len(plain) <= MAX_WIDTH else plain[: MAX_WIDTH - 1] + "…"


class JobLogs:
    """The log of one job, read as it grows. Not safe to share between threads."""

    def __init__(self, client: CloudWatchLogsClient, job: str) -> None:
        self._client = client
        self._job = job
        self._tokens: dict[str, str | None] = {}
        self._turn: deque[str] = deque()
        self._told_until: dict[str, float] = {}

    def new_lines(self) -> list[LogLine]:
        """Lines since the last call, in order of time; of 20 hosts at most, who take turns.

        Empty where the job has no log yet. Raises what botocore raises.
        """
        self._find_streams()
        lines: list[LogLine] = []
        for _ in range(min(STREAMS_A_READ, len(self._turn))):
            stream = self._turn[0]
            self._turn.rotate(-1)
            lines += self._read(stream)
        return sorted(lines, key=lambda line: line.at)

    def rest(self) -> Iterator[list[LogLine]]:
        """All lines since the last call, of every host, in batches in order of time.

        For a job that has ended. Of hosts that have more to say than is told, the last lines end
        it. Raises what botocore raises.
        """
        self._find_streams()
        left = list(self._turn)
        reads = told = 0
        while left and reads + len(left) <= MAX_LAST_READS and told < MAX_LAST_LINES:
            lines: list[LogLine] = []
            reads += len(left)
            room = max(TAIL_LINES, (MAX_LAST_LINES - told) // len(left))
            unread = []
            for stream in left:
                before = self._tokens[stream]
                lines += self._read(stream, limit=min(room, LINES_A_READ))
                # CloudWatch hands back the token that it was given where a stream ends, not before.
                if self._tokens[stream] != before:
                    unread.append(stream)
            left = unread
            told += len(lines)
            yield sorted(lines, key=lambda line: line.at)
        tails = [line for stream in left for line in self._untold_tail(stream)]
        yield sorted(tails, key=lambda line: line.at)

    def _untold_tail(self, stream: str) -> list[LogLine]:
        told_until = self._told_until.get(stream, 0.0)
        # Of the same millisecond, rather told twice than never.
        return [line for line in self._tail(stream, TAIL_LINES) if line.at >= told_until]

    def last_lines(self, count: int, *, hosts: Collection[str] = ()) -> list[LogLine]:
        """The last lines over all hosts, in order of time; of each in `hosts`, as many again."""
        lines: list[LogLine] = []
        named: list[LogLine] = []
        for stream in self._streams():
            tail = self._tail(stream, count)
            if _host(stream) in hosts:
                named += tail
            else:
                lines = sorted([*lines, *tail], key=lambda line: line.at)[-count:]
        return sorted([*lines, *named], key=lambda line: line.at)

    def _tail(self, stream: str, count: int) -> list[LogLine]:
        page = self._client.get_log_events(
            logGroupName=LOG_GROUP, logStreamName=stream, limit=max(count, 1)
        )
        return [_line(stream, event) for event in page["events"]]

    def _find_streams(self) -> None:
        for stream in self._streams():
            if stream not in self._tokens:
                self._tokens[stream] = None
                self._turn.append(stream)

    def _read(self, stream: str, *, limit: int = LINES_A_READ) -> list[LogLine]:
        request: dict[str, Any] = {
            "logGroupName": LOG_GROUP,
            "logStreamName": stream,
            "startFromHead": True,
            "limit": limit,
        }
        token = self._tokens[stream]
        if token is not None:
            request["nextToken"] = token
        page = self._client.get_log_events(**request)
        self._tokens[stream] = page["nextForwardToken"]
        lines = [_line(stream, event) for event in page["events"]]
        if lines:
            self._told_until[stream] = lines[-1].at
        return lines

    def _streams(self) -> list[str]:
        request: dict[str, Any] = {
            "logGroupName": LOG_GROUP,
            "logStreamNamePrefix": f"{self._job}/",
        }
        found: list[str] = []
        try:
            for _ in range(_MAX_PAGES):
                page = self._client.describe_log_streams(**request)
                found += [stream["logStreamName"] for stream in page["logStreams"]]
                if not page.get("nextToken"):
                    break
                request["nextToken"] = page["nextToken"]
        except ClientError as error:
            # The account's first job makes the group when it starts.
            if code_of(error) != "ResourceNotFoundException":
                raise
        return found


def _line(stream: str, event: Any) -> LogLine:
    return LogLine(event["timestamp"] / 1000, _host(stream), event["message"].rstrip("\n"))


def _host(stream: str) -> str:
    # A stream is called <job>/<host>-<Unix time>.
    return re.sub(r"-\d{6,}$", "", stream.partition("/")[2])
