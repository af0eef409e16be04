"""The environments that peers run in: one for each lock, as no one set of versions fits them all.

``python -m benchmarks.peers.environments`` makes them with uv; what cannot be installed keeps its
reason, which the tables then show.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from benchmarks.results import ROOT, WORK, say

LOCKS = ROOT / "benchmarks" / "peers" / "locks"
NAMES = ("current", "infinity", "onnx")
_ENVIRONMENTS = WORK / "peers"


class NotInstalledError(RuntimeError):
    """An environment is not there; why, in one line."""


def python_of(name: str) -> Path:
    """The interpreter of an environment. NotInstalledError where it was not made."""
    stamp = _ENVIRONMENTS / f"{name}.stamp"
    said = stamp.read_text(encoding="utf-8") if stamp.exists() else "not installed"
    if said != _digest(name):
        raise NotInstalledError(said if " " in said else "its lock has changed; install it again")
    return _ENVIRONMENTS / name / "bin" / "python"


def make(name: str) -> None:
    """Install a lock, unless that was done; the stamp then holds the lock's digest, or the error's
    last line."""
    stamp = _ENVIRONMENTS / f"{name}.stamp"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == _digest(name):
        return
    _ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
    folder = _ENVIRONMENTS / name
    uv = str(Path(sys.executable).with_name("uv"))
    say(f"installing the peers of {name}.txt")
    lock = str(LOCKS / f"{name}.txt")
    into = ["--python", str(folder / "bin" / "python")]
    commands = [
        [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)],
        [uv, "pip", "install", "--quiet", "--require-hashes", *into, "-r", lock],
    ]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no word"])[-1].strip()
            stamp.write_text(f"not installed: {reason}", encoding="utf-8")
            say(done.stderr)
            return
    stamp.write_text(_digest(name), encoding="utf-8")


def _digest(name: str) -> str:
    return hashlib.sha256((LOCKS / f"{name}.txt").read_bytes()).hexdigest()


if __name__ == "__main__":
    for each in NAMES:
        make(each)
