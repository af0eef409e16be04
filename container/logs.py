"""What a container writes on standard output: one JSON object a line, no document's text.

CloudWatch Logs keeps the lines; those in its embedded metric format become metrics as well.
"""

from __future__ import annotations

import json
import re
import threading
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

from container.outcome import type_of, without_secrets
from embed_job.fleet import Host
from embed_job.progress.meter import Meter, Plan, ProgressUpdate, Snapshot

Clock = Callable[[], float]
Level = Literal["info", "warning", "error"]

NAMESPACE = "EmbedJob"
INTERVAL_S = 30.0
MAX_TEXT = 2000
METRICS = (
    ("documents", "Count"),
    ("tokens_per_s", "Count/Second"),
    ("rejected", "Count"),
    ("retries", "Count"),
)
_RETRIES = frozenset(["split_failed", "worker_replaced", "split_retried"])
_INDEX = frozenset(["index_failed", "index_tried_again", "index_lost_documents"])
_WARNINGS = _RETRIES | _INDEX | {"poison_document", "draining"}
_ERRORS = frozenset(["split_given_up"])
_FRAME = re.compile(r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<name>.+)$')


class Log:
    """Lines of one host. Safe to call from any thread; a reader that has gone is no error.

    clock: Unix seconds.
    """

    def __init__(self, stream: TextIO, *, host: Host, clock: Clock) -> None:
        self._stream = stream
        self._host = host
        self._clock = clock
        self._writing = threading.Lock()

    def line(self, level: Level, event: str, /, **facts: object) -> None:
        """One line: time, level, job, host, event, then the facts."""
        now = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds")
        head = {"time": now, "level": level, "job": self._host.job, "host": self._host.name}
        told = {key: _plain(value) for key, value in facts.items()}
        self._write(head | {"event": event} | told | head)

    def metrics(self, values: Mapping[str, float]) -> None:
        """One line in CloudWatch's embedded metric format. values: by the names in METRICS."""
        self._write(embedded_metrics(values, host=self._host, now=self._clock()))

    def _write(self, line: Mapping[str, object]) -> None:
        text = json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n"
        with self._writing:
            try:
                self._stream.write(text)
                self._stream.flush()
            except (OSError, ValueError):
                return  # whoever watched has gone, and there is nobody left to tell


def embedded_metrics(values: Mapping[str, float], *, host: Host, now: float) -> dict[str, Any]:
    """A metrics line by the rules of the embedded metric format. now: Unix seconds."""
    return {
        "_aws": {
            "Timestamp": int(now * 1000),
            "CloudWatchMetrics": [
                {
                    "Namespace": NAMESPACE,
                    "Dimensions": [["job", "host"]],
                    "Metrics": [{"Name": name, "Unit": unit} for name, unit in METRICS],
                }
            ],
        },
        "event": "metrics",
        "job": host.job,
        "host": host.name,
        **{name: values[name] for name, _ in METRICS},
    }


def frames_of(error: BaseException) -> list[str]:
    """Where an exception came from, the innermost frame last; without its text, and without the
    lines of source, either of which may quote a document."""
    return [
        f"{frame.filename}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
    ]


def bug_facts(error: BaseException) -> dict[str, object]:
    """What the log says of an unforeseen exception: types and frames, down its causes. The text
    only of errors of the operating system, which name files; of others a name in code."""
    facts: dict[str, object] = {"type": type_of(error), "traceback": frames_of(error)}
    if isinstance(error, OSError):
        facts |= {"text": error.strerror, "file": error.filename}
    if isinstance(error, ImportError | NameError | AttributeError):
        facts["name"] = error.name
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        facts |= {"cause": type_of(cause), "cause_traceback": frames_of(cause)}
    return facts


class ContainerProgress:
    """A :class:`embed_job.progress.Progress` as log lines and metrics: at the start, every 30 s,
    at each split and event, at the end."""

    def __init__(self, log: Log, *, clock: Clock, interval_s: float = INTERVAL_S) -> None:
        self._log = log
        self._meter = Meter(clock)
        self._interval_s = interval_s
        self._stopped = threading.Event()
        self._telling = threading.Lock()
        self._retries = 0
        self._told = {"documents": 0, "rejected": 0, "retries": 0}

    def start(self, plan: Plan) -> None:
        self._meter.start(plan)
        self._retries, self._told = 0, dict.fromkeys(self._told, 0)
        self._log.line(
            "info",
            "loading" if plan.loading else "started",
            splits=plan.splits,
            splits_committed_before=plan.already_committed_splits,
            mib=round(plan.bytes / 2**20, 2),
            workers=plan.workers,
        )
        self._stopped = stopped = threading.Event()
        threading.Thread(
            target=self._tick, args=(stopped,), name="container-log", daemon=True
        ).start()

    def advance(self, update: ProgressUpdate) -> None:
        self._meter.advance(update)

    def split_done(self, *, stored_bytes: int) -> None:
        self._meter.split_done(stored_bytes)
        now = self._meter.snapshot()
        facts = {"splits": now.splits, "of_splits": now.total_splits, "documents": now.documents}
        self._log.line("info", "split_committed", mib=round(stored_bytes / 2**20, 2), **facts)

    def loaded(self, *, rows: int, rejected: int, stored_bytes: int) -> None:
        self._meter.loaded(rows=rows, rejected=rejected, stored_bytes=stored_bytes)
        self._log.line("info", "split_loaded", rows=rows, rejected=rejected)

    def event(self, name: str, /, **facts: object) -> None:
        self._retries += name in _RETRIES
        level: Level = "warning" if name in _WARNINGS else "error" if name in _ERRORS else "info"
        self._log.line(level, name, **discreet(facts))

    def stop(self) -> None:
        if not self._stopped.is_set() and self._meter.started:
            self._stopped.set()
            self._tell("ended")

    def _tick(self, stopped: threading.Event) -> None:
        while not stopped.wait(self._interval_s):
            self._tell("progress")

    def _tell(self, event: str) -> None:
        with self._telling:
            now, retries = self._meter.snapshot(), self._retries
            self._log.line("info", event, **_facts(now), retries=retries)
            if now.loading:
                return
            sums = {"documents": now.documents, "rejected": now.rejected, "retries": retries}
            # Metrics add up over time, so that each line holds what is new.
            steps = {name: value - self._told[name] for name, value in sums.items()}
            self._told = sums
            self._log.metrics({**steps, "tokens_per_s": round(now.tokens_per_s, 1)})


def discreet(facts: Mapping[str, object]) -> dict[str, object]:
    """An event's facts without what may quote a document: of a traceback its frames, of how
    something ended an exception's type alone."""
    told = dict(facts)
    if isinstance(found := told.get("traceback"), str):
        frames = filter(None, map(_FRAME.match, found.splitlines()))
        told["traceback"] = [f"{at['file']}:{at['line']} {at['name']}" for at in frames]
    if isinstance(how := told.get("how"), str):
        told["how"] = how.partition(": ")[0]
    return told


def _facts(now: Snapshot) -> dict[str, object]:
    if now.loading:
        amounts = {"rows": now.documents, "rows_per_s": round(now.rows_per_s, 1)}
    else:
        amounts = {"documents": now.documents, "tokens": now.tokens}
        amounts |= {"tokens_per_s": round(now.tokens_per_s, 1)}
    return {
        **amounts,
        "rejected": now.rejected,
        "mib": round(now.bytes / 2**20, 2),
        "of_mib": round(now.total_bytes / 2**20, 2),
        "splits": now.splits,
        "of_splits": now.total_splits,
        "elapsed_s": round(now.elapsed_s, 1),
        "eta_s": None if now.eta_s is None else round(now.eta_s),
    }


def _plain(value: object) -> object:
    """A fact as JSON has it; text is cut, and what looks like a credential is masked."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else None  # NaN and infinity are no JSON
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return without_secrets(str(value))[:MAX_TEXT].encode("utf-8", "replace").decode()
