"""The script of a SageMaker job: checks that the image fits it, then lets the image do the work.

It is uploaded with the job, so it and the image may be of different versions, and the image may be
anything. Hence the standard library alone, and syntax of Python 3.8, up to the handshake.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

PROTOCOL = 3
"""What this script and its image agree on; equal to ``embed_job.fleet.PROTOCOL`` of the image."""

PYTHON = (3, 11)
BUG, UNFIT_IMAGE = 1, 8
MESSAGE_BYTES = 1024
HINT = "Build the image with the version of embed-job that submits the job."


def main() -> None:
    # As process 1 of a container, Python is not ended by a signal that it has no handler for.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stopped)
    if sys.version_info < PYTHON:
        found = ".".join(map(str, sys.version_info[:3]))
        _leave(UNFIT_IMAGE, "IMAGE", "the image's Python is " + found + ", not 3.11 or newer")
    # What lies beside this script is input of a job, never a module.
    sys.path[:] = [folder for folder in sys.path if folder != str(Path(__file__).resolve().parent)]
    try:
        import container
        import embed_job.fleet
    except ImportError as error:
        if (error.name or "").partition(".")[0] in ("embed_job", "container"):
            what = "the image has no " + str(error.name) + ", so it is not one of this version"
        else:
            what = "embed_job of the image lacks " + (error.name or "a name that it imports")
        _leave(UNFIT_IMAGE, "IMAGE", what)
    spoken = getattr(embed_job.fleet, "PROTOCOL", None)
    if spoken != PROTOCOL:
        what = "the job's script speaks protocol " + str(PROTOCOL) + ", the image " + str(spoken)
        _leave(UNFIT_IMAGE, "IMAGE", what)
    code = container.main()
    for number in (signal.SIGINT, signal.SIGTERM):  # all is said and done
        signal.signal(number, signal.SIG_IGN)
    sys.exit(code)


def _stopped(number: int, _frame: object) -> None:
    name = "INTERRUPTED" if number == signal.SIGINT else "TERMINATED"
    _leave(128 + number, name, "stopped before it began", hint="Submit the job again.")


def _leave(code: int, name: str, what: str, *, hint: str = HINT) -> NoReturn:
    """End the process with one message: on standard error, and in the file for the service."""
    root = Path(os.environ.get("EMBED_JOB_ROOT") or "/")
    host, hosts = _host(root / "opt/ml/config/resourceconfig.json")
    text = host + " " + str(code) + " " + name + ": " + what + ". " + hint
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
    limit = MESSAGE_BYTES // hosts
    end = b"\n" if limit >= 32 else b""  # as container.outcome does
    cut = text.encode("utf-8", "replace")[: limit - len(end)]
    try:
        folder = root / "opt/ml/output"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "message").write_bytes(cut.decode("utf-8", "ignore").encode() + end)
    except OSError as error:
        sys.stderr.write("the message file can't be written: " + str(error.strerror) + "\n")
    os._exit(code)  # sys.exit could be swallowed by whatever a signal interrupts


def _host(config: Path) -> tuple[str, int]:
    """This host's name and the number of hosts, as far as they can be told."""
    try:
        found: Any = json.loads(config.read_text("utf-8"))
        return str(found["current_host"] or "host"), max(1, len(found["hosts"]))
    except (OSError, ValueError, KeyError, TypeError):
        return "host", 1


if __name__ == "__main__":
    main()
