"""Where files are read and written: one protocol, for local folders and for S3 alike.

A key is a file's whole address: an absolute local path, or ``s3://bucket/key``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file as listed. size in bytes; etag is None where the store keeps none (local files)."""

    key: str
    size: int
    etag: str | None


@dataclass(frozen=True, slots=True)
class Tagged:
    """A small file and the tag of this very content, for :meth:`Store.swap`."""

    data: bytes
    tag: str


class ByteStream(Protocol):
    """Bytes in order, as they arrive; ``read(n)`` answers b"" at the end only."""

    def read(self, size: int = -1, /) -> bytes: ...

    def close(self) -> None: ...


class Store(Protocol):
    """Files by key.

    A missing key raises FileNotFoundError, a refused one PermissionError, a full disk OSError
    (ENOSPC); anything that retries could not mend raises
    :class:`embed_job.errors.InputError` or :class:`embed_job.errors.OutputError`.
    """

    def list(self, prefix: str) -> Iterator[StoredFile]:
        """Files under a folder (or the file itself), in order of their keys, streamed.

        A folder never matches its sibling: ``a/b`` lists ``a/b/…``, not ``a/bc``.
        """
        ...

    def stat(self, key: str) -> StoredFile: ...

    def open_range(
        self, key: str, start: int = 0, end: int | None = None, *, etag: str | None = None
    ) -> ByteStream:
        """A stream of bytes [start, end), read as it is consumed; end None: to the end.

        etag: the version that is meant; where the store keeps ETags, InputError for any other.
        """
        ...

    def open_seekable(self, key: str, *, etag: str | None = None) -> BinaryIO:
        """A seekable stream, for Parquet: only what is asked for is read. etag: as above."""
        ...

    def read(self, key: str) -> bytes: ...

    def create(self, key: str, data: bytes) -> bool:
        """Write a small file whole, only where none is (``If-None-Match: *``).

        True: this call's bytes are what the key holds, also where an earlier attempt of this
        very call was applied and its answer lost. False: the key held something else before.
        The file is durable, and never seen in part.
        """
        ...

    def read_tagged(self, key: str) -> Tagged: ...

    def swap(self, key: str, data: bytes, *, tag: str | None) -> bool:
        """Write a small file whole, only over the content of that tag (``If-Match``); None: only
        where none is. True and False as of create.

        Of writers that have read the same content one wins, provided that no two write the same
        bytes. Durable, never seen in part.
        """
        ...

    def replace(self, key: str, data: bytes) -> None:
        """Write a small file whole, over what was there. Durable, never seen in part."""
        ...

    def upload(self, path: Path, key: str) -> None:
        """Move the finished local file at path to key, its checksum verified; path is gone after.

        Durable once it returns, never seen in part.
        """
        ...

    def move(self, source: str, target: str) -> None:
        """Give a file another key of this store; its bytes never leave the store. Idempotent: a
        file that lies at target only is moved already.

        Killed in between, the file lies at source, or whole at both.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove a file; a missing one is no error."""
        ...


def join(folder: str, *names: str) -> str:
    """The key of a file below a folder."""
    return "/".join([folder.rstrip("/"), *names])


def list_files(store: Store, folder: str) -> Iterator[StoredFile]:
    """Every file below a folder, as of Store.list; none where the folder is not there."""
    try:
        yield from store.list(folder)
    except FileNotFoundError:
        return


def store_for(uri: str, *, temporary: Path | None = None) -> Store:
    """The store that a path or URI belongs to.

    temporary: for local files, where unfinished ones lie; None: hidden, beside the file.
    """
    if uri.startswith("s3://"):
        from embed_job.storage.s3 import S3Store

        return S3Store.from_environment()
    from embed_job.storage.local import LocalStore

    return LocalStore(temporary=temporary)


def resolve(uri: str) -> str:
    """A user's path or URI as a key: local paths become absolute, S3 URIs stay as they are."""
    return uri if uri.startswith("s3://") else str(Path(uri).expanduser().absolute())
