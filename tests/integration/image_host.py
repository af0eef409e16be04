"""A host as SageMaker runs one: the real image, its own /opt/ml mounted, and nothing else."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Container:
    """A running container and the process of the docker client that waits for it."""

    name: str
    client: subprocess.Popen[str]

    def stop(self, *, patience_s: int) -> int:
        """SIGTERM, and SIGKILL after patience_s; the exit code, 137 where it came to that."""
        subprocess.run(
            ["docker", "stop", "--time", str(patience_s), self.name],
            check=True,
            capture_output=True,
        )
        return self.client.wait(timeout=60)


def start(image: str, root: Any, *options: str, environment: Sequence[str] = ()) -> Container:
    """Start the job's script on a ``container_root.Root``. No network unless an option says so."""
    name = f"embed-job-test-{uuid.uuid4().hex[:12]}"
    words = ["docker", "run", "--rm", "--name", name, "--volume", f"{root.ml}:/opt/ml"]
    words += [word for value in environment for word in ("--env", value)]
    if "--network" not in options:
        words += ["--network", "none"]
    if os.getuid() != 0:
        # SageMaker runs it as root; here that would leave files that nobody can remove.
        words += ["--user", f"{os.getuid()}:{os.getgid()}"]
    script = "/opt/ml/processing/input/code/embed_shard.py"
    words += [*options, "--entrypoint", "python3", image, script]
    client = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    return Container(name, client)


def python(image: str, source: str, *options: str, arguments: Sequence[str] = ()) -> str:
    """What a program prints in the image, whose exit code must be 0."""
    done = attempt(image, source, *options, arguments=arguments)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def attempt(
    image: str, source: str, *options: str, arguments: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a program, given on standard input, by the image's Python."""
    words = ["docker", "run", "--rm", "-i", "--network", "none", *options]
    words += ["--entrypoint", "python3", image, "-", *arguments]
    return subprocess.run(
        words, input=source, text=True, capture_output=True, check=False, timeout=300
    )
