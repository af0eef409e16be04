"""What stands for an instance: a container, or a process with its own root."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

from embed_job.errors import BundleError, UserError

RunnerKind = Literal["auto", "docker", "process"]

DEFAULT_IMAGE = "embed-job:cpu"
"""What `make image` tags."""
DEFAULT_BUNDLE = Path("models/default")
"""Where `make bundle` puts the model; stands for the image's /models/default."""
DOCKER_ANSWER_S = 30.0


@dataclass(frozen=True, slots=True)
class HostTask:
    """One host to start.

    root: folder that holds its opt/ml. entrypoint None: the image's own. access: what the service
    gives beside the environment, the endpoint and credentials of S3; empty under isolation.
    rank, hosts: its place, for its part of this machine's cores.
    """

    job: str
    host: str
    rank: int
    hosts: int
    root: Path
    entrypoint: Sequence[str] | None
    arguments: Sequence[str]
    environment: Mapping[str, str]
    access: Mapping[str, str]
    isolated: bool


class RunningHost(Protocol):
    """A host that was started. Every call may be made when it has ended already."""

    @property
    def called(self) -> str:
        """What it is on this machine: container NAME, process ID."""
        ...

    @property
    def output(self) -> BinaryIO:
        """Standard output and error together; ends when the host has ended."""
        ...

    def poll(self) -> int | None:
        """The exit code, 128 + n where signal n ended it; None while it runs."""
        ...

    def terminate(self) -> None:
        """SIGTERM to its first process."""
        ...

    def remove(self) -> None:
        """Kill what is left of it and remove every trace but its folder."""
        ...


class Runner(Protocol):
    """Starts hosts."""

    def start(self, task: HostTask) -> RunningHost: ...


def choose_runner(
    kind: RunnerKind, *, image: str, bundle: Path | None, note: Callable[[str], None]
) -> Runner:
    """The runner for --runner; note: told in one line what was chosen and why.

    Raises UserError where Docker is asked for and can't be had, or there is no bundle.
    """
    from launcher.local.docker import DockerRunner
    from launcher.local.process import ProcessRunner

    missing = _what_docker_lacks(image) if kind != "process" else None
    if kind == "docker" and missing:
        raise UserError("--runner docker", *missing)
    if kind != "process" and missing is None:
        note(f"Each host is a container of {image}.")
        return DockerRunner(image=image, bundle=bundle.absolute() if bundle else None)
    why = f": {missing[0]}" if missing else ""
    note(f"Each host is a process with its own root{why}.")
    chosen = bundle or DEFAULT_BUNDLE
    if not (chosen / "bundle.json").is_file():
        raise BundleError(str(chosen), "is no model bundle", "Make the default one: make bundle.")
    return ProcessRunner(bundle=chosen.absolute())


def _what_docker_lacks(image: str) -> tuple[str, str] | None:
    """Why no container can be started, and what to do; None where nothing is missing."""
    if shutil.which("docker") is None:
        return "Docker is not installed", "Install it, or use --runner process."
    if not _answers("docker", "version", "--format", "{{.Server.Version}}"):
        return "the Docker daemon does not answer", "Start it, or use --runner process."
    if not _answers("docker", "image", "inspect", "--format", "{{.Id}}", image):
        return f"there is no image {image}", "Build it: make image. Or use --runner process."
    return None


def _answers(*command: str) -> bool:
    try:
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, check=False, timeout=DOCKER_ANSWER_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
