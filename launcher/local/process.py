"""A host as a process with its own root, where there is no Docker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from embed_job.errors import UserError
from launcher.local.runner import HostTask

_PYTHON = ("python3", "python")


@dataclass(frozen=True, slots=True)
class ProcessRunner:
    """bundle: stands for the image's /models/default.

    The process finds the container's paths below EMBED_JOB_ROOT. Its user, network and memory are
    this machine's: under network isolation it is only given no credentials.
    """

    bundle: Path

    def start(self, task: HostTask) -> ProcessHost:
        root = task.root.absolute()
        (root / "tmp").mkdir(exist_ok=True)
        (root / "models").mkdir(exist_ok=True)
        (root / "models/default").symlink_to(self.bundle, target_is_directory=True)
        process = subprocess.Popen(  # noqa: S603
            _command(task, root),
            cwd=root,
            env=_environment(task, root),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        _confine(process.pid, task)
        return ProcessHost(process)


def _command(task: HostTask, root: Path) -> list[str]:
    """The entrypoint, with this Python for the image's and its paths below the root."""
    if task.entrypoint is None:
        raise UserError(
            "the request's AppSpecification",
            "leaves the entrypoint to the image, and a process has no image",
            "Name a ContainerEntrypoint, or use --runner docker.",
        )
    first = sys.executable if task.entrypoint[0] in _PYTHON else task.entrypoint[0]
    rest = [*task.entrypoint[1:], *task.arguments]
    return [first, *(f"{root}{word}" if word.startswith("/opt/ml/") else word for word in rest)]


def _environment(task: HostTask, root: Path) -> dict[str, str]:
    """What an image would set, then what the request and the service do."""
    image = {
        "PATH": f"{Path(sys.executable).parent}:{os.defpath}",
        "HOME": str(root),
        "TMPDIR": str(root / "tmp"),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "EMBED_JOB_ROOT": str(root),
    }
    return {**image, **task.environment, **task.access}


def _confine(pid: int, task: HostTask) -> None:
    """Give the host its part of the cores, as a machine of its own would have no others.

    Set before it has come so far as to count them. Where a system can't, hosts share all cores.
    """
    if not hasattr(os, "sched_setaffinity"):
        return
    cores = sorted(os.sched_getaffinity(0))
    with suppress(ProcessLookupError):  # it has ended already
        os.sched_setaffinity(pid, part_of(cores, rank=task.rank, hosts=task.hosts))


def part_of(cores: Sequence[int], *, rank: int, hosts: int) -> list[int]:
    """The cores of one host: disjoint parts where there are enough, else one each in turn."""
    return list(cores[rank::hosts]) or [cores[rank % len(cores)]]


class ProcessHost:
    """A :class:`launcher.local.runner.RunningHost`: a process that leads a group of its own."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @property
    def called(self) -> str:
        return f"process {self._process.pid}"

    @property
    def output(self) -> BinaryIO:
        assert self._process.stdout is not None  # noqa: S101 - it was opened so
        return self._process.stdout  # type: ignore[return-value]

    def poll(self) -> int | None:
        code = self._process.poll()
        return code if code is None or code >= 0 else 128 - code

    def terminate(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def remove(self) -> None:
        # The group outlives its leader where workers do.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
