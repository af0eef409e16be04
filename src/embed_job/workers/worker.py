"""One worker process: load the model once, then take splits from the parent until it hangs up."""

from __future__ import annotations

import logging
import os
import queue
import signal
import sys
import threading
import time
import traceback
from importlib.abc import MetaPathFinder
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from embed_job.job import Toolbox
    from embed_job.progress.meter import ProgressUpdate
    from embed_job.workers.messages import Answer, Task, WorkerConfig

_PROGRESS_INTERVAL_S = 0.5


def work(connection: Connection, config: WorkerConfig) -> None:
    """The process's whole life. Signals are the parent's business; its death ends this too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.meta_path.insert(0, _WithoutPandas())
    inbox: queue.SimpleQueue[Task] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(connection, inbox), daemon=True).start()
    voice = _Voice(connection)

    logging.getLogger("embed_job").addHandler(_Telling(voice))
    from embed_job.errors import UserError, output_error
    from embed_job.workers.messages import Crashed, Ready, Stopped
    from embed_job.workers.toolbox import load_toolbox

    try:
        began = time.perf_counter()
        tools = load_toolbox(config)
        voice.say(Ready(time.perf_counter() - began, tools.engine.facts))
    except UserError as error:
        voice.say(Stopped(error))
        return
    while True:
        task = inbox.get()
        try:
            voice.say(_perform(task, tools, voice))
        except UserError as error:
            voice.say(Stopped(error))
        except OSError as error:
            explained = output_error(error, config.spec.parquet.uri)
            voice.say(Stopped(explained) if explained else Crashed(traceback.format_exc()))
        except Exception:  # noqa: BLE001 - the parent bisects the split, whatever it was
            voice.say(Crashed(traceback.format_exc(), is_last=bool(config.gpus)))
            if config.gpus:
                os._exit(1)


class _WithoutPandas(MetaPathFinder):
    """Where pandas is installed, pyarrow imports it to ask whether a list is a Series: a quarter
    of a second and 60 MB for each worker. It does without where the import fails."""

    def find_spec(self, name: str, path: object, target: object = None) -> None:  # noqa: ARG002
        if name == "pandas":
            raise ModuleNotFoundError(name)


def _receive(connection: Connection, inbox: queue.SimpleQueue[Task]) -> None:
    """Pass tasks on; when the parent is gone, leave at once: nothing uncommitted counts."""
    while True:
        try:
            inbox.put(connection.recv())
        except (EOFError, OSError):
            os._exit(0)


def _perform(task: Task, tools: Toolbox, voice: _Voice) -> Answer:
    from embed_job.job import embed_split, probe_split
    from embed_job.settle import RefusedError
    from embed_job.workers.messages import Embedded, Kind, Survived

    if task.kind is not Kind.EMBED:
        chosen = range(task.first, task.last) if task.kind is Kind.PROBE else range(0)
        records = probe_split(
            task.split, tools, exclude=task.exclude, chosen=chosen, report=voice.progress
        )
        return Survived(records)
    exclude = dict(task.exclude)
    while True:
        try:
            return Embedded(embed_split(task.split, tools, exclude=exclude, report=voice.progress))
        except RefusedError as refused:
            exclude[refused.ordinal] = refused.exclusion


class _Telling(logging.Handler):
    """Passes warnings of the engine and its like on to the parent."""

    def __init__(self, voice: _Voice) -> None:
        super().__init__(logging.WARNING)
        self._voice = voice

    def emit(self, record: logging.LogRecord) -> None:
        from embed_job.workers.messages import Noted

        self._voice.say(Noted(record.getMessage()))


class _Voice:
    """What the worker says; small steps of progress are gathered. Threads may share it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._speaking = threading.Lock()
        self._documents = self._bytes = self._tokens = self._rejected = 0
        self._last = time.monotonic()

    def say(self, answer: Answer) -> None:
        with self._speaking:
            self._flush()
            self._connection.send(answer)

    def progress(self, step: ProgressUpdate) -> None:
        with self._speaking:
            self._documents += step.documents
            self._bytes += step.bytes
            self._tokens += step.tokens
            self._rejected += step.rejected
            if time.monotonic() - self._last >= _PROGRESS_INTERVAL_S:
                self._flush()

    def _flush(self) -> None:
        from embed_job.progress.meter import ProgressUpdate

        self._last = time.monotonic()
        step = ProgressUpdate(
            documents=self._documents,
            bytes=self._bytes,
            tokens=self._tokens,
            rejected=self._rejected,
        )
        self._documents = self._bytes = self._tokens = self._rejected = 0
        if step != ProgressUpdate():
            self._connection.send(step)
