"""After a signal a container leaves in time, whatever its main thread is caught in."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

LEAVE_WITHIN_S = 9.0
"""From the first signal to the end of the process: below the 10 s of `docker stop`, as SageMaker
says nothing of its own patience."""
DRAIN_S = 6.0
"""What of it splits get to finish at most; the rest is for killing workers and last words."""

_LAST_WORDS_S = 0.5


class Deadline:
    """Context manager: ends the process with 128 + signal where it is still inside, so many
    seconds after SIGINT or SIGTERM.

    Being killed at any moment loses nothing that is committed, so this is safe too. The signal is
    seen by a thread of its own: Python's handlers wait for the main thread to leave C code.
    last_words is called, from a thread, with the exit code before the end; it gets half a second.
    """

    def __init__(self, limit_s: float, *, last_words: Callable[[int], None]) -> None:
        self._limit_s = limit_s
        self._last_words = last_words
        self._done = threading.Event()

    def __enter__(self) -> Deadline:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._former = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._watch, name="deadline", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._former)
        self._done.set()
        os.close(self._write)
        self._thread.join()
        os.close(self._read)

    def _watch(self) -> None:
        while number := os.read(self._read, 1):
            if number[0] not in (signal.SIGINT, signal.SIGTERM):
                continue
            if self._done.wait(self._limit_s):
                return
            code = 128 + number[0]
            words = threading.Thread(target=self._last_words, args=(code,), daemon=True)
            words.start()
            words.join(_LAST_WORDS_S)
            os._exit(code)
