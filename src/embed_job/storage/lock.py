"""A lock among processes of this machine, held for the length of a rename."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embed_job.errors import OutputError

_LIMIT_S = 30.0
_POLL_S = 0.01


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock on a file, which is made where it is not there, and stays.

    The kernel releases it with the process that holds it, however that ends. Raises OutputError
    where one that was stopped in the middle keeps it.
    """
    with path.open("ab") as lock:
        deadline_s = time.monotonic() + _LIMIT_S
        while not _taken(lock.fileno()):
            if time.monotonic() >= deadline_s:
                raise OutputError(
                    str(path),
                    f"is locked by a process that stood still for {_LIMIT_S:.0f} s",
                    "End that process (`fuser` names it), or let it go on.",
                )
            time.sleep(_POLL_S)
        yield


def _taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
