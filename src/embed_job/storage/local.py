"""Files of this machine. Writes are atomic and durable: temporary name, fsync, link or rename."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from embed_job.errors import InputError
from embed_job.storage import ByteStream, StoredFile, Tagged
from embed_job.storage.lock import locked


class LocalStore:
    """A :class:`embed_job.storage.Store` of local files; keys are absolute paths.

    temporary: a folder on the same mount for files that are not finished, where something watches
    the folders they are for. None, or on another mount: hidden, beside the file.
    """

    def __init__(self, *, temporary: Path | None = None) -> None:
        self._temporary = temporary

    def list(self, prefix: str) -> Iterator[StoredFile]:
        root = Path(prefix)
        if root.is_file():
            yield self.stat(prefix)
            return
        if not root.is_dir():
            raise FileNotFoundError(prefix)
        yield from self._walk(root, above=frozenset())

    def _walk(self, folder: Path, *, above: frozenset[tuple[int, int]]) -> Iterator[StoredFile]:
        """above: the folders on the way here; a link back to one of them is not followed.

        What others remove meanwhile is passed over; only the root must be there.
        """
        try:
            status = folder.stat()
            with os.scandir(folder) as found:
                entries = sorted(found, key=_name_in_key)
        except FileNotFoundError:
            if above:
                return
            raise
        this = (status.st_dev, status.st_ino)
        if this in above:
            return
        for entry in entries:
            if entry.is_dir():
                yield from self._walk(Path(entry.path), above=above | {this})
            elif entry.is_file():
                try:
                    size = entry.stat().st_size
                except FileNotFoundError:
                    continue
                yield StoredFile(entry.path, size, None)
            elif _is_broken_link(entry):
                raise InputError(
                    entry.path,
                    f"a link to {Path(entry.path).readlink()}, which is not there",
                    "Bring the file back, or remove the link.",
                )

    def stat(self, key: str) -> StoredFile:
        path = Path(key)
        if not path.exists() or path.is_dir():  # a folder is no key
            raise FileNotFoundError(key)
        return StoredFile(key, path.stat().st_size, None)

    def open_range(
        self,
        key: str,
        start: int = 0,
        end: int | None = None,
        *,
        etag: str | None = None,  # noqa: ARG002 - local files have none
    ) -> ByteStream:
        stream = Path(key).open("rb")
        stream.seek(start)
        return stream if end is None else _Limited(stream, end - start)

    def open_seekable(self, key: str, *, etag: str | None = None) -> BinaryIO:  # noqa: ARG002
        return Path(key).open("rb")

    def read(self, key: str) -> bytes:
        return Path(key).read_bytes()

    def create(self, key: str, data: bytes) -> bool:
        target = Path(key)
        temporary = self._write(target, data)
        try:
            os.link(temporary, target)
        except FileExistsError:
            return target.read_bytes() == data
        finally:
            temporary.unlink()
        _sync_folder(target.parent)
        return True

    def read_tagged(self, key: str) -> Tagged:
        data = self.read(key)
        return Tagged(data, _tag_of(data))

    def swap(self, key: str, data: bytes, *, tag: str | None) -> bool:
        if tag is None:
            return self.create(key, data)
        target = Path(key)
        temporary = self._write(target, data)
        try:
            with locked(target.with_name(f".{target.name}.lock")):
                if not target.exists() or _tag_of(target.read_bytes()) != tag:
                    return False
                temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(target.parent)
        return True

    def replace(self, key: str, data: bytes) -> None:
        target = Path(key)
        temporary = self._write(target, data)
        try:
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(target.parent)

    def upload(self, path: Path, key: str) -> None:
        target = Path(key)
        _make_folder(target.parent)
        if _same_mount(path, target.parent):
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
            path.replace(target)
        else:
            temporary = self._temporary_name(target)
            try:
                with path.open("rb") as source, temporary.open("xb") as copy:
                    shutil.copyfileobj(source, copy, 1 << 20)
                    copy.flush()
                    os.fsync(copy.fileno())
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)
            path.unlink()
        _sync_folder(target.parent)

    def move(self, source: str, target: str) -> None:
        to = Path(target)
        _make_folder(to.parent)
        try:
            Path(source).replace(to)
        except FileNotFoundError:
            if not to.exists():
                raise
            return
        _sync_folder(to.parent)
        _sync_folder(Path(source).parent)

    def delete(self, key: str) -> None:
        Path(key).unlink(missing_ok=True)

    def _temporary_name(self, target: Path) -> Path:
        name = f".{target.name}.{secrets.token_hex(4)}.tmp"
        if self._temporary is not None and _same_mount(self._temporary, target.parent):
            return self._temporary / name
        return target.with_name(name)

    def _write(self, target: Path, data: bytes) -> Path:
        """A temporary file of the data, durable, to be linked or renamed to target."""
        _make_folder(target.parent)
        temporary = self._temporary_name(target)
        try:
            with temporary.open("xb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return temporary


def _tag_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _is_broken_link(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a link to nothing, and not what vanished since it was listed."""
    hidden = entry.name.startswith(".")
    return entry.is_symlink() and not hidden and Path(entry.path).is_symlink()


def _name_in_key(entry: os.DirEntry[str]) -> str:
    """What keys go on with: a folder sorts with its slash, so ``a-b`` comes before ``a/c``."""
    return f"{entry.name}/" if entry.is_dir() else entry.name


class _Limited:
    """At most `left` bytes of a stream."""

    def __init__(self, stream: ByteStream, left: int) -> None:
        self._stream = stream
        self._left = max(0, left)

    def read(self, size: int = -1, /) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        data = self._stream.read(wanted)
        self._left -= len(data)
        return data

    def close(self) -> None:
        self._stream.close()


def _same_mount(path: Path, folder: Path) -> bool:
    """Whether a rename from path to folder works: between two mounts it does not, though both be
    of one file system."""
    return _mount_of(path) == _mount_of(folder)


def _mount_of(path: Path) -> tuple[int, str]:
    """The device, and where the kernel tells it the mount."""
    handle = os.open(path, os.O_RDONLY)
    try:
        facts = Path(f"/proc/self/fdinfo/{handle}").read_text().splitlines()
    except OSError:
        facts = []
    finally:
        os.close(handle)
    mount = next((line for line in facts if line.startswith("mnt_id:")), "")
    return path.stat().st_dev, mount


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, each durable in its parent."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
