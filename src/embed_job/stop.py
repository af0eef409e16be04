"""SIGINT and SIGTERM, alike: the first asks the run to drain, the second ends it at once.

The run may ask itself, too, where its work is no longer its own.
"""

from __future__ import annotations

import signal
from types import FrameType

from embed_job.errors import ExitCode

_EXIT_CODES = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.TERMINATED}


class StopSignals:
    """Context manager; inside it the signals set `requested` instead of ending the process."""

    def __init__(self) -> None:
        self._received: signal.Signals | None = None
        self._former: dict[signal.Signals, object] = {}
        self._asked = False

    def __enter__(self) -> StopSignals:
        for number in _EXIT_CODES:
            self._former[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self._received is not None:
            raise KeyboardInterrupt
        self._received = signal.Signals(number)

    def ask(self) -> None:
        """Ask the run to drain, without a signal; from any thread."""
        self._asked = True

    @property
    def requested(self) -> bool:
        return self._asked or self._received is not None

    @property
    def exit_code(self) -> ExitCode | None:
        """The exit code that tells of the signal; None where there was none."""
        return _EXIT_CODES[self._received] if self._received else None
