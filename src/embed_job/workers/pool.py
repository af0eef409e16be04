"""The parent's side of the worker processes: hand out splits, replace the dead, drain on a signal.

Each worker has a pipe of its own, so one that is killed can neither block nor corrupt another.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from embed_job.engine.facts import EngineFacts
from embed_job.errors import WorkerError
from embed_job.manifest import SplitManifest
from embed_job.progress.meter import ProgressUpdate
from embed_job.workers.case import SplitCase
from embed_job.workers.environment import environment, environment_of
from embed_job.workers.messages import (
    Answer,
    Crashed,
    Embedded,
    Noted,
    Ready,
    Stopped,
    Survived,
    WorkerConfig,
)
from embed_job.workers.supply import Supply
from embed_job.workers.worker import work

_POLL_S = 0.25
_MAX_START_DEATHS = 3

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Listener:
    """What the pool tells whoever watches: steps, commits (manifest None: another was first),
    and events by name with their facts."""

    progress: Callable[[ProgressUpdate], None]
    committed: Callable[[SplitCase, SplitManifest | None], None]
    event: Callable[[str, dict[str, object]], None]


@dataclass(slots=True)
class _Member:
    """A worker process as the parent sees it."""

    process: BaseProcess
    connection: Connection
    number: int
    last_word: float
    ready: bool = False
    case: SplitCase | None = None


class Pool:
    """Runs splits over worker processes until none are left or it is asked to stop."""

    def __init__(
        self,
        config: WorkerConfig,
        supply: Supply,
        *,
        workers: int,
        listener: Listener,
        stopping: Callable[[], bool],
        clock: Clock,
    ) -> None:
        execution = config.spec.execution
        self._config = config
        self._supply = supply
        self._workers = workers
        self._listener = listener
        self._stopping = stopping
        self._clock = clock
        self._stall_timeout_s = execution.stall_timeout_s
        self._drain_timeout_s = execution.drain_timeout_s
        self._context = multiprocessing.get_context("spawn")
        self._members: list[_Member] = []
        self._retries: deque[SplitCase] = deque()
        self._failure: WorkerError | None = None
        self._start_deaths = 0
        self._drain_until: float | None = None
        self._began = clock()
        self.load_s = 0.0
        """Seconds until the first worker was ready."""
        self.engines: dict[EngineFacts, None] = {}
        """What workers have told that they run on, each once, in that order."""

    def run(self) -> None:
        """Commit every split of the supply.

        Returns early, with splits left, when asked to stop: running ones get drain_timeout_s.
        Raises the UserError that a worker met at once; a WorkerError, of a split that kills
        whoever takes it, only when all others are committed.
        """
        try:
            for number in range(self._workers):
                self._start(number)
            while not self._drained() and (self._busy() or not self._supply.exhausted):
                self._assign()
                self._listen()
                self._kill_stalled()
        finally:
            self._close()
        if self._failure is not None:
            raise self._failure

    def _busy(self) -> bool:
        return bool(self._retries) or any(member.case for member in self._members)

    def _start(self, number: int) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=work,
            args=(theirs, replace(self._config, number=number)),
            name=f"embed-job-worker-{number}",
            daemon=True,
        )
        with environment(environment_of(self._config, number)):
            process.start()
        theirs.close()
        self._members.append(_Member(process, ours, number, self._clock()))

    def _assign(self) -> None:
        if self._drain_until is not None:
            return
        for member in self._members:
            if not member.ready or member.case is not None:
                continue
            member.case = self._retries.popleft() if self._retries else self._supply.take()
            if member.case is None:
                return
            member.last_word = self._clock()
            with suppress(BrokenPipeError):  # its death is seen, and settled, by _listen
                member.connection.send(member.case.task())

    def _drained(self) -> bool:
        """Whether the pool was asked to stop and has nothing running, or no time, left."""
        if not self._stopping():
            return False
        if self._drain_until is None:
            self._drain_until = self._clock() + self._drain_timeout_s
            self._listener.event("draining", {"timeout_s": self._drain_timeout_s})
        return (
            not any(member.case for member in self._members) or self._clock() >= self._drain_until
        )

    def _listen(self) -> None:
        connections = {member.connection: member for member in self._members}
        for connection in wait(list(connections), timeout=_POLL_S):
            member = connections[connection]  # type: ignore[index]
            try:
                for answer in _waiting(member.connection):
                    self._hear(member, answer)
            except (EOFError, OSError):
                if member in self._members:  # else it told of its end, and is buried
                    self._bury(member, "")

    def _hear(self, member: _Member, answer: Answer) -> None:
        member.last_word = self._clock()
        match answer:
            case ProgressUpdate():
                self._listener.progress(answer)
            case Ready():
                member.ready = True
                self._start_deaths = 0
                self.load_s = self.load_s or self._clock() - self._began
                self._meet(answer.engine)
            case Noted():
                self._listener.event("worker_says", {"worker": member.number, "what": answer.what})
            case Stopped():
                raise answer.error
            case Embedded():
                case = self._release(member)
                case.committed()
                self._listener.committed(case, answer.manifest)
                self._supply.ended(case)
            case Survived():
                case = self._release(member)
                case.survived(answer.records)
                self._requeue(case)
            case Crashed():
                self._hear_crash(member, answer)

    def _hear_crash(self, member: _Member, answer: Crashed) -> None:
        how = answer.traceback.strip().splitlines()[-1][:300]
        name = member.case and member.case.name
        facts: dict[str, object] = {"split": name, "how": how, "traceback": answer.traceback}
        self._listener.event("split_failed", facts)
        if answer.is_last:
            self._bury(member, how)
        else:
            self._settle_death(self._release(member), how)

    def _meet(self, engine: EngineFacts) -> None:
        """Tell of an engine once, however many workers run on it."""
        if engine not in self.engines:
            self.engines[engine] = None
            self._listener.event("engine", asdict(engine))

    def _release(self, member: _Member) -> SplitCase:
        case, member.case = member.case, None
        assert case is not None  # noqa: S101 - a worker answers only to a task
        return case

    def _requeue(self, case: SplitCase) -> None:
        if case.error is None:
            self._retries.appendleft(case)
            return
        self._failure = self._failure or case.error
        self._listener.event("split_given_up", {"split": case.name, "how": case.error.what})
        self._supply.ended(case)

    def _settle_death(self, case: SplitCase, how: str) -> None:
        poisonous = case.poisonous
        case.died(how)
        if case.poisonous > poisonous:
            self._listener.event("poison_document", {"split": case.name, "how": how})
        self._requeue(case)

    def _bury(self, member: _Member, why: str) -> None:
        """A worker is gone: settle what it was doing and put another in its place."""
        member.process.join()
        member.connection.close()
        self._members.remove(member)
        how = why or _how_it_ended(member.process.exitcode)
        self._listener.event(
            "worker_replaced",
            {"worker": member.number, "how": how, "split": member.case and member.case.name},
        )
        if member.case is not None:
            self._settle_death(member.case, how)
        elif not member.ready:
            self._start_deaths += 1
            if self._start_deaths > _MAX_START_DEATHS:
                raise WorkerError(
                    f"worker {member.number}",
                    f"dies while it loads the model: {how}",
                    "Give it more memory, or use fewer execution.workers.",
                )
        if not self._stopping():
            self._start(member.number)

    def _kill_stalled(self) -> None:
        now = self._clock()
        for member in list(self._members):
            if member.case and now - member.last_word > self._stall_timeout_s:
                member.process.kill()
                self._bury(member, f"made no progress for {self._stall_timeout_s:g} s")

    def _close(self) -> None:
        for member in self._members:
            member.process.kill()
        for member in self._members:
            member.process.join()
            member.connection.close()
        self._members.clear()


def _waiting(connection: Connection) -> Iterator[Answer]:
    """Everything a worker has said so far. Raises EOFError once it is gone and all is heard."""
    while connection.poll():
        yield connection.recv()


def _how_it_ended(exitcode: int | None) -> str:
    if exitcode is None or exitcode >= 0:
        return f"exit code {exitcode}"
    with suppress(ValueError):
        return f"killed by {signal.Signals(-exitcode).name}"
    return f"killed by signal {-exitcode}"
