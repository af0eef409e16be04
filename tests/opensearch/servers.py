"""OpenSearch servers with k-NN, in containers or from Maven's jars; none outlives its starter."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

IMAGE = "opensearchproject/opensearch:2.19.1"
_ROOT = Path(__file__).resolve().parent.parent.parent
_JARS = _ROOT / ".opensearch"
_PULL_S = 300
_READY_S = 180
_LOG_TAIL = 3000
_PORTS = 32
"""A cluster's, in a row: HTTP, and from the seventeenth on the nodes among themselves."""

_CONTAINER = [
    *("docker", "run", "--rm", "--interactive", "--entrypoint", "bash"),
    *("-e", "discovery.type=single-node"),
    *("-e", "DISABLE_SECURITY_PLUGIN=true", "-e", "DISABLE_INSTALL_DEMO_CONFIG=true"),
    *("-e", "cluster.routing.allocation.disk.threshold_enabled=false"),
    *("-e", "OPENSEARCH_JAVA_OPTS=-Xmx1g"),
]
# Standard input ends where whoever started the container is gone, and the container with it.
_CONTAINED = "./opensearch-docker-entrypoint.sh opensearch & cat >/dev/null; kill -9 $!"


class NoServerError(Exception):
    """Why there is no server to be had this way."""


@dataclass(frozen=True, slots=True)
class Node:
    """A running node. command: what starts it again; folder: all that it keeps."""

    url: str
    command: Sequence[str]
    folder: Path
    process: subprocess.Popen[bytes]

    def wait_until_ready(self, *, nodes: int = 1) -> None:
        """Wait until it is in a cluster of so many nodes.

        Raises RuntimeError, with the end of its log, where it dies or takes too long.
        """
        deadline = time.monotonic() + _READY_S
        while not self._answers(nodes):
            if self.process.poll() is not None or time.monotonic() > deadline:
                tail = _log_of(self.folder).read_text()[-_LOG_TAIL:]
                raise RuntimeError(f"the OpenSearch server did not get ready:\n{tail}")
            time.sleep(0.1)

    def _answers(self, nodes: int) -> bool:
        asked = f"{self.url}/_cluster/health?wait_for_nodes={nodes}&timeout=1s"
        try:
            with urllib.request.urlopen(asked, timeout=5):  # noqa: S310
                return True
        except (urllib.error.URLError, OSError):
            return False

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End it as its starter's death would."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.kill()


def start_node(url: str, command: Sequence[str], folder: Path) -> Node:
    """A node's process, which ends where its standard input does."""
    folder.mkdir(parents=True, exist_ok=True)
    with _log_of(folder).open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Node(url, command, folder, process)


def start_again_empty(node: Node) -> Node:
    """A killed node's successor at the same address, with nothing of its data."""
    shutil.rmtree(node.folder)
    return start_node(node.url, node.command, node.folder)


@contextmanager
def any_server(folder: Path) -> Iterator[str]:
    """URL of one node: the Docker image, else Maven and Java.

    Skips, loudly, where neither is to be had; in CI that is a failure.
    """
    try:
        _check_image()
    except NoServerError as no_image:
        with maven_cluster(folder, nodes=1, before=f"{no_image}; ") as nodes:
            yield nodes[0].url
        return
    port = _free_ports()
    publish = ["--publish", f"127.0.0.1:{port}:9200"]
    command = [*_CONTAINER, *publish, IMAGE, "-c", _CONTAINED]
    node = start_node(f"http://127.0.0.1:{port}", command, folder)
    try:
        node.wait_until_ready()
        yield node.url
    finally:
        node.close()


@contextmanager
def maven_cluster(folder: Path, *, nodes: int, before: str = "") -> Iterator[list[Node]]:
    """So many nodes, each a process. The caller may replace a node that it killed in the list.

    before: put before the reason of a skip.
    """
    try:
        _check_jars()
    except NoServerError as no_jars:
        give_up(f"{before}{no_jars}")
    port = _free_ports()
    heap = "-Xmx1g" if nodes == 1 else "-Xmx512m"
    classes = f"{_JARS}/lib/*:{_JARS}/knn/*"
    program = str(Path(__file__).parent / "server/Server.java")
    running: list[Node] = []
    with ExitStack() as stack:
        for number in range(1, nodes + 1):
            place = folder / f"node-{number}"
            command = ["java", heap, "-cp", classes, program, str(place)]
            command += [str(port), str(number), str(nodes)]
            node = start_node(f"http://127.0.0.1:{port + number - 1}", command, place)
            running.append(node)
            stack.callback(lambda at=number - 1: running[at].close())
        for node in running:
            node.wait_until_ready(nodes=nodes)
        yield running


def give_up(reason: str) -> NoReturn:
    """Skip what needs a server; in CI a skip is a failure."""
    told = f"NOTHING is tested against a real OpenSearch: {reason}"
    pytest.fail(told) if os.environ.get("CI") else pytest.skip(told)


def _log_of(folder: Path) -> Path:
    return folder / "server.log"


def _check_image() -> None:
    if not shutil.which("docker"):
        raise NoServerError("there is no docker")
    inspected = subprocess.run(
        ["docker", "image", "inspect", IMAGE], check=False, capture_output=True
    )
    if inspected.returncode == 0:
        return
    try:
        subprocess.run(
            ["docker", "pull", "--quiet", IMAGE], check=True, capture_output=True, timeout=_PULL_S
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        raise NoServerError(f"docker can't pull {IMAGE}") from None


def _check_jars() -> None:
    missing = [name for name in ("make", "mvn", "javac") if not shutil.which(name)]
    if missing:
        raise NoServerError(f"there is no {missing[0]} (Debian: maven, openjdk-17-jdk-headless)")
    made = subprocess.run(
        ["make", "--no-print-directory", "opensearch-server"],
        cwd=_ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    if made.returncode:
        raise NoServerError(f"its jars could not be fetched: {made.stdout[-500:]}{made.stderr}")


def _free_ports() -> int:
    """The first of _PORTS free ports in a row."""
    for start in range(20000, 32000, _PORTS):
        probes = [socket.socket() for _ in range(_PORTS)]
        try:
            for number, probe in enumerate(probes):
                probe.bind(("127.0.0.1", start + number))
        except OSError:
            continue
        else:
            return start
        finally:
            for probe in probes:
                probe.close()
    raise RuntimeError("there are no free ports")
