"""The hosts of one job: started together, their logs kept, none left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from launcher.local.runner import HostTask, Runner, RunningHost
from launcher.local.tail import Tail

MAX_LINE_BYTES = 256 << 10
"""CloudWatch's for one event; a longer line becomes several."""


class Fleet:
    """Context manager: inside it the hosts run; leaving it kills and removes what is left.

    Each host's output goes to logs/<host>.log beside the hosts' folders, and to the tail.
    """

    def __init__(self, tasks: Sequence[HostTask], runner: Runner, tail: Tail) -> None:
        self._tasks = tasks
        self._runner = runner
        self._tail = tail
        self._running: dict[str, RunningHost] = {}
        self._pumps: list[threading.Thread] = []

    def __enter__(self) -> Fleet:
        try:
            for task in self._tasks:
                self._start(task)
        except BaseException:
            self._remove_all()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._remove_all()

    def exit_codes(self) -> dict[str, int | None]:
        """The exit code of each host in order; None while it runs."""
        return {name: host.poll() for name, host in self._running.items()}

    def end(self, *, grace_s: float, poll_s: float) -> None:
        """SIGTERM to every host, and time to leave; leaving the context kills the others."""
        for host in self._running.values():
            host.terminate()
        deadline = time.monotonic() + grace_s
        while time.monotonic() < deadline and None in self.exit_codes().values():
            time.sleep(poll_s)
        late = [name for name, code in self.exit_codes().items() if code is None]
        if late:
            self._tail.note(f"Still there after {grace_s:g} s, killed: {', '.join(late)}")

    def _start(self, task: HostTask) -> None:
        running = self._runner.start(task)
        self._running[task.host] = running
        self._tail.note(f"{task.host} is {running.called}")
        log = task.root.parent.parent / "logs" / f"{task.host}.log"
        log.parent.mkdir(exist_ok=True)
        pump = threading.Thread(
            target=_pump, args=(running.output, log, task.host, self._tail), name=f"log-{task.host}"
        )
        pump.start()
        self._pumps.append(pump)

    def _remove_all(self) -> None:
        try:
            for host in self._running.values():
                host.remove()
        except KeyboardInterrupt:
            # A third signal: the promise that none is left comes first.
            for host in self._running.values():
                host.remove()
            raise
        finally:
            for pump in self._pumps:
                pump.join()


def _pump(output: BinaryIO, log: Path, host: str, tail: Tail) -> None:
    with output, log.open("wb") as file:
        while line := output.readline(MAX_LINE_BYTES):
            with suppress(OSError):  # a full disk stops no job: the tail still shows it
                file.write(line)
                file.flush()
            tail.line(host, line)
