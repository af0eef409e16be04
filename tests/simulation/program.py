"""embed-job as processes: as users and schedules start it, and as the world ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

ROOT = Path(__file__).parents[2]
_LIMIT_S = 240
_SHIFTED = ROOT / "tests/opensearch/shifted_clock.py"


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that has ended. told: what it printed, on both streams."""

    code: int
    output: str
    errors: str

    @property
    def told(self) -> str:
        return self.output + self.errors

    @property
    def report(self) -> dict[str, Any]:
        """What it printed with --json."""
        printed: dict[str, Any] = orjson.loads(self.output)
        return printed


@dataclass(frozen=True, slots=True)
class Program:
    """folder: where commands run. environment: theirs, whole."""

    folder: Path
    environment: dict[str, str]

    def start(self, *arguments: str | Path, clock_shift_s: float = 0) -> subprocess.Popen[str]:
        """In a process group of its own. clock_shift_s: what is added to its wall clock."""
        program = ["-m", "launcher.cli"]
        if clock_shift_s:
            program = [str(_SHIFTED), str(clock_shift_s)]
        return subprocess.Popen(
            [sys.executable, *program, *map(str, arguments)],
            cwd=self.folder,
            env={**self.environment, "COLUMNS": "200", "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str | Path, clock_shift_s: float = 0) -> Ended:
        """To its end."""
        return ended(self.start(*arguments, clock_shift_s=clock_shift_s))

    def must(self, *arguments: str | Path, code: int = 0) -> Ended:
        """To the end that is named."""
        done = self.run(*arguments)
        assert done.code == code, f"{arguments} ended with {done.code}:\n{done.told}"
        return done


def ended(process: subprocess.Popen[str]) -> Ended:
    """What a process came to."""
    try:
        output, errors = process.communicate(timeout=_LIMIT_S)
    except subprocess.TimeoutExpired:
        kill(process)
        raise AssertionError(f"still at work after {_LIMIT_S} s: {process.args!r}") from None
    return Ended(process.returncode, output, errors)


def kill(process: subprocess.Popen[str]) -> None:
    """SIGKILL, to it and all its children."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)


def wait_until(condition: Callable[[], object], process: subprocess.Popen[str]) -> bool:
    """Whether it came true before the process ended."""
    deadline = time.monotonic() + _LIMIT_S
    while not condition():
        if process.poll() is not None:
            return False
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)
    return True
