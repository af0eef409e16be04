"""A folder of this run for files that are not finished, and what killed runs left of theirs."""

from __future__ import annotations

import fcntl
import secrets
import shutil
from pathlib import Path


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
            self._lock = (self.path / "lock").open("wb")
        except FileNotFoundError:
            return False
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        if (self.path / "lock").exists():
            return True
        self._lock.close()
        return False

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def _remove_if_abandoned(folder: Path) -> None:
    try:
        with (folder / "lock").open("rb+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except FileNotFoundError:
        return  # another run is just making it, or has just removed it
    except BlockingIOError:
        return  # its owner lives
