"""A job watched to its end: how it stands, how far it is, and what its hosts say."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from embed_job.errors import UserError
from embed_job.spec import JobSpec
from launcher.aws.clients import Clients
from launcher.aws.errors import AWS_ERRORS, explain, is_denied, is_passing
from launcher.watch.jobs import JobState, describe_job
from launcher.watch.logs import TAIL_LINES, JobLogs
from launcher.watch.progress import ProgressReader

Tell = Callable[[str], None]
"""Takes one line for whoever watches."""

FIRST_POLL_S = 5.0
LONGEST_POLL_S = 30.0
_HOST = re.compile(r"\balgo-\d+\b")
PROGRESS_EVERY_S = 60.0
MAX_FAILURES = 10
"""Questions in a row without an answer before following is given up; the job goes on."""
SETTLE_S = 5.0
"""How long the last lines of a host may take to arrive in CloudWatch."""


@dataclass(slots=True)
class Follower:
    """Follows one job.

    spec: whose policies name the statement that is missing, where one is. clock: seconds that
    only grow; sleep may raise KeyboardInterrupt.
    """

    clients: Clients
    tell: Tell
    spec: JobSpec | None
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    show_logs: bool = True
    _shown: str = ""
    _told_progress_s: float | None = None
    _mute: set[str] = field(default_factory=set)
    _logs: dict[str, JobLogs] = field(default_factory=dict)
    _progress: dict[str, ProgressReader | None] = field(default_factory=dict)

    def to_the_end(self, job: str) -> JobState:
        """The job as it ended, whatever the end.

        Asks every 5 to 30 s, and keeps asking where AWS throttles or cannot be reached. Raises
        UserError once it has had no answer ten times in a row, or none is to be had.
        """
        state = self._ask(job, failures=0)
        # Kept: followed again after Ctrl-C, a job's log goes on where it was.
        logs = self._logs.setdefault(job, JobLogs(self.clients.logs, job))
        progress = self._progress.setdefault(job, _reader(self.clients, state))
        wait_s, failures, seen_running = FIRST_POLL_S, 0, state.running
        while True:
            self._tell_status(state)
            if seen_running and not state.running:
                self._settle()
            self._look(logs, progress, last=not state.running)
            if not state.running:
                return state
            self.sleep(wait_s)
            wait_s = min(LONGEST_POLL_S, wait_s * 1.3)
            try:
                state = describe_job(self.clients.sagemaker, job)
                failures = 0
            except AWS_ERRORS as error:
                failures += 1
                self._give_up(error, failures)

    def _ask(self, job: str, *, failures: int) -> JobState:
        while True:
            try:
                return describe_job(self.clients.sagemaker, job)
            except AWS_ERRORS as error:
                failures += 1
                self._give_up(error, failures)
                self.sleep(LONGEST_POLL_S)

    def _give_up(self, error: Exception, failures: int) -> None:
        """Raise, unless the next question may well be answered."""
        if failures < MAX_FAILURES and is_passing(error):
            return
        found = explain(error, self.spec, region=self.clients.known_region)
        raise UserError(
            found.where, found.what, f"The job goes on by itself. {found.hint}"
        ) from error

    def _settle(self) -> None:
        try:
            self.sleep(SETTLE_S)
        except KeyboardInterrupt:
            return  # the job has ended: there is nothing to stop, only less to wait for

    def _tell_status(self, state: JobState) -> None:
        line = state.status
        if state.status == "InProgress":
            line = "InProgress: running" if state.started_at else "InProgress: starting machines"
        if line != self._shown:
            self._shown = line
            self.tell(f"{state.name}: {line}")

    def _look(self, logs: JobLogs, progress: ProgressReader | None, *, last: bool) -> None:
        """Show log lines and progress; what is not to be had of them is said once."""
        if self.show_logs:
            self._try("the log", lambda: self._tell_lines(logs, last=last), last=last)
        told_s = self._told_progress_s
        due = told_s is None or last or self.clock() - told_s >= PROGRESS_EVERY_S
        if progress is not None and due:
            self._told_progress_s = self.clock()
            self._try("progress", lambda: self.tell(progress.look().shown()))

    def _tell_lines(self, logs: JobLogs, *, last: bool) -> None:
        for lines in logs.rest() if last else [logs.new_lines()]:
            for line in lines:
                if shown := line.shown():
                    self.tell(shown)

    def _try(self, what: str, show: Callable[[], None], *, last: bool = False) -> None:
        if what in self._mute:
            return
        try:
            show()
        except (*AWS_ERRORS, PermissionError, UserError) as error:
            cause = error.__cause__ if isinstance(error, PermissionError) else error
            if isinstance(cause, AWS_ERRORS):
                if is_passing(cause) and not last:
                    return
                self._mute |= {what} if is_denied(cause) else set()
                error = explain(cause, self.spec, region=self.clients.known_region)
            self.tell(f"{what} is not to be had: {error}")


def _reader(clients: Clients, state: JobState) -> ProgressReader | None:
    if state.prefix is None or state.output is None:
        return None
    return ProgressReader(clients.store, state.output, state.prefix)


def tail_of(clients: Clients, state: JobState, *, spec: JobSpec | None) -> list[str]:
    """The end of a job's log, readable, and that of the hosts which its end is laid to.

    One line that says why where it can't be read.
    """
    hosts = set(_HOST.findall(f"{state.exit_message} {state.failure_reason}"))
    try:
        found = JobLogs(clients.logs, state.name).last_lines(TAIL_LINES, hosts=hosts)
    except AWS_ERRORS as error:
        return [f"The log can't be read: {explain(error, spec, region=clients.known_region)}"]
    return [shown for line in found if (shown := line.shown())]
