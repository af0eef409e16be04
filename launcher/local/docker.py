"""A host as a container, by the docker command."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit, urlunsplit

from launcher.local.runner import HostTask

_STARTING_S = 10.0
"""How long a container may take to exist once it was asked for."""
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_HOST_FROM_DESKTOP = "host.docker.internal"


@dataclass(frozen=True, slots=True)
class DockerRunner:
    """image: what stands for the request's ImageUri. bundle: mounted over its /models/default."""

    image: str
    bundle: Path | None = None

    def start(self, task: HostTask) -> DockerHost:
        name = f"{task.job}-{task.host}-{secrets.token_hex(3)}"
        access, network = reach(task)
        process = subprocess.Popen(  # noqa: S603
            self._command(task, name, access, network),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # Their values are in no argument, where any user of this machine could read them.
            env=os.environ | access,
            # Ctrl-C is ours to pass on.
            start_new_session=True,
        )
        return DockerHost(name, process)

    def _command(
        self, task: HostTask, name: str, access: dict[str, str], network: str | None
    ) -> list[str]:
        return ["docker", "run", *self._options(task, name, access, network), *self._call(task)]

    def _options(
        self, task: HostTask, name: str, access: dict[str, str], network: str | None
    ) -> Iterator[str]:
        yield from ("--rm", "--name", name)
        yield from (
            "--label",
            f"embed-job.job={task.job}",
            "--label",
            f"embed-job.host={task.host}",
        )
        yield from ("--volume", f"{task.root.absolute()}/opt/ml:/opt/ml")
        if self.bundle is not None:
            yield from ("--volume", f"{self.bundle}:/models/default:ro")
        if network is not None:
            yield from ("--network", network)
        yield from ("--cpus", str(max(1, (os.cpu_count() or 1) // task.hosts)))
        if os.getuid() != 0:
            # Or what it writes below the mount would be root's, and nobody else could remove it.
            yield from ("--user", f"{os.getuid()}:{os.getgid()}")
        for variable, value in task.environment.items():
            yield from ("--env", f"{variable}={value}")
        for variable in access:
            yield from ("--env", variable)

    def _call(self, task: HostTask) -> Iterator[str]:
        if task.entrypoint is None:
            yield self.image
        else:
            yield from ("--entrypoint", task.entrypoint[0], self.image, *task.entrypoint[1:])
        yield from task.arguments


def reach(task: HostTask, *, platform: str = sys.platform) -> tuple[dict[str, str], str | None]:
    """The access as seen from a container, and the network it needs; None: Docker's default."""
    access = dict(task.access)
    if task.isolated:
        return access, "none"
    endpoint = urlsplit(access.get("AWS_ENDPOINT_URL", ""))
    if endpoint.hostname not in _LOOPBACK:
        return access, None
    if platform == "linux":
        return access, "host"
    # Docker of a desktop runs in a machine of its own, whose loopback is not ours.
    seen = endpoint._replace(netloc=f"{_HOST_FROM_DESKTOP}:{endpoint.port or 80}")
    return access | {"AWS_ENDPOINT_URL": urlunsplit(seen)}, None


class DockerHost:
    """A :class:`launcher.local.runner.RunningHost`: a container and its `docker run`."""

    def __init__(self, name: str, process: subprocess.Popen[bytes]) -> None:
        self.name = name
        self._process = process

    @property
    def called(self) -> str:
        return f"container {self.name}"

    @property
    def output(self) -> BinaryIO:
        assert self._process.stdout is not None  # noqa: S101 - it was opened so
        return self._process.stdout  # type: ignore[return-value]

    def poll(self) -> int | None:
        return self._process.poll()

    def terminate(self) -> None:
        deadline = time.monotonic() + _STARTING_S
        while self.poll() is None and time.monotonic() < deadline:
            if _docker("kill", "--signal", "TERM", self.name):
                return
            time.sleep(0.1)

    def remove(self) -> None:
        _docker("rm", "--force", "--volumes", self.name)
        if self.poll() is None:
            self._process.kill()
            # It may have been on the way to a container: none may be left.
            _docker("rm", "--force", "--volumes", self.name)
        self._process.wait()


def _docker(*arguments: str) -> bool:
    done = subprocess.run(["docker", *arguments], capture_output=True, check=False)  # noqa: S603, S607
    return done.returncode == 0
