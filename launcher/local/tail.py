"""What the terminal shows of a local job: the hosts' log lines, one line each and readable."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TextIO

import orjson

MAX_WIDTH = 160
MAX_ERROR_WIDTH = 2000
COMMITS_EVERY_S = 2.0
"""A host that commits many splits a second tells of one now and then; its log has all of them."""

_TEMPLATES = {
    "workers": "workers: {workers}, cores: {cores}",
    "order": "{files} of the job's {files_of_job} files",
    "engine": "engine {engine} on {device}",
    "started": "{splits} splits, {splits_committed_before} of them committed before",
    "split_committed": "{splits} of {of_splits} splits, {documents:,} documents",
    "progress": "{splits} of {of_splits} splits, {documents:,} documents, "
    "{tokens_per_s:,.0f} tokens/s",
    "ended": "{documents:,} documents, {tokens:,} tokens in {elapsed_s} s",
    "exit": "exit {code} {name}: {text}",
}
"""What the container's common events are to people; others are shown with all their facts."""
_SAID_ELSEWHERE = frozenset(
    {"time", "timestamp", "host", "level", "event", "message", "text", "job"}
)


class Tail:
    """Lines for whoever watches, from any thread. quiet: notes alone, no log lines."""

    def __init__(
        self, stream: TextIO, *, quiet: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream
        self._quiet = quiet
        self._clock = clock
        self._writing = threading.Lock()
        self._told_commit: dict[str, float] = {}

    def note(self, text: str) -> None:
        self._write(text)

    def line(self, host: str, raw: bytes) -> None:
        """A line of a host's log."""
        if self._quiet:
            return
        text = raw.decode(errors="replace").rstrip()
        facts = _facts(text)
        if facts is not None:
            if facts.get("event") == "split_committed" and self._is_soon(host):
                return
            text = sentence(facts)
        if text:
            bad = facts is not None and facts.get("level") in ("warning", "error")
            self._write(f"{host} | {_shown(text, limit=MAX_ERROR_WIDTH if bad else MAX_WIDTH)}")

    def _is_soon(self, host: str) -> bool:
        now = self._clock()
        if now - self._told_commit.get(host, -COMMITS_EVERY_S) < COMMITS_EVERY_S:
            return True
        self._told_commit[host] = now
        return False

    def _write(self, text: str) -> None:
        with self._writing:
            try:
                self._stream.write(text + "\n")
                self._stream.flush()
            except (OSError, ValueError):
                # Whoever watched has gone; the job goes on.
                self._quiet = True


def _facts(text: str) -> dict[str, Any] | None:
    """A line of JSON as what it holds; None for any other line."""
    if not text.startswith("{"):
        return None
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def _shown(text: str, *, limit: int) -> str:
    plain = "".join(char if char.isprintable() else " " for char in text)
    return plain if len(plain) <= limit else plain[: limit - 1] + "…"


def sentence(facts: dict[str, Any]) -> str:
    """An event in one line; nothing for what is for machines alone, such as metrics."""
    if "_aws" in facts:  # CloudWatch embedded metric format
        return ""
    event = str(facts.get("event") or "")
    if event in _TEMPLATES:
        try:
            return _TEMPLATES[event].format_map(facts)
        except (KeyError, ValueError, TypeError):
            pass  # of another version: shown as it is
    rest = [
        f"{name}={value if isinstance(value, str) else orjson.dumps(value).decode()}"
        for name, value in facts.items()
        if name not in _SAID_ELSEWHERE and value is not None
    ]
    said = str(facts.get("message") or facts.get("text") or "")
    return " ".join([part for part in (event.replace("_", " "), said) if part] + rest)
