"""A folder of this run for files that are not finished, and what killed runs left of theirs."""

from __future__ import annotations

import fcntl
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

_LOCK = "lock"


class Spool:
    """``root/<nonce>/``, locked while in use; on entering, folders nobody locks are removed.

    A folder is told alive by the lock its owner holds on it, never by its age: the kernel
    releases it with the process, however that ended.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.path = root / secrets.token_hex(8)

    def __enter__(self) -> Spool:
        while not self._made():
            self.path = self._root / secrets.token_hex(8)
        for folder in self._root.iterdir():
            if folder != self.path:
                _remove_if_abandoned(folder)
        return self

    def _made(self) -> bool:
        """False where another run took the folder for abandoned before it was locked."""
        self.path.mkdir(parents=True)
        try:
            self._lock = (self.path / _LOCK).open("wb")
        except FileNotFoundError:
            return False
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        if (self.path / _LOCK).exists():
            return True
        self._lock.close()
        return False

    def __exit__(self, *_: object) -> None:
        _remove(self.path)
        self._lock.close()


def _remove(folder: Path) -> None:
    """All of a folder, the lock last: by it the next run finds what a kill leaves here."""
    for path in folder.glob("*"):
        if path.name != _LOCK:
            shutil.rmtree(path, ignore_errors=True)
            with suppress(OSError):
                path.unlink()
    shutil.rmtree(folder, ignore_errors=True)


def _remove_if_abandoned(folder: Path) -> None:
    try:
        with (folder / _LOCK).open("rb+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(folder)
    except FileNotFoundError:
        return  # another run is just making it, or has just removed it
    except BlockingIOError:
        return  # its owner lives
