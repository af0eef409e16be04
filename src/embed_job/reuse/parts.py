"""Rows of earlier parts: each is fetched once a host, verified, and unpacked."""

from __future__ import annotations

import fcntl
import hashlib
import io
import logging
import os
import shutil
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from embed_job.errors import InputError
from embed_job.reuse.lookup import Rows
from embed_job.sink import Part
from embed_job.storage import Store

_BLOCK_BYTES = 1 << 20
_BATCH_ROWS = 1024
_MAPPED_BYTES = 128 << 20
"""Unpacked parts that are held mapped at a time; one of more is held alone."""

_HELD_BYTES = 16 << 20
"""A part of no more is fetched into memory. To make and to delete a file for each part of a
megabyte costs as much as to read it."""

_LOCKS = 64
"""Files that parts share for their locks, for the same reason."""


_log = logging.getLogger(__name__)


class _UnfitError(Exception):
    """A part can't be taken from; why."""


@dataclass(frozen=True, slots=True)
class EarlierPart:
    """A file of rows. key: where it is; first: the number of its first row, through all parts."""

    key: str
    first: int
    part: Part


@dataclass(frozen=True, slots=True)
class Unpacking:
    """Where parts are unpacked: a folder on this host's disk, which others use too. Where less than
    leave_free_bytes are left, what was not used for longest goes."""

    folder: Path
    leave_free_bytes: int


@dataclass(frozen=True, slots=True)
class _Unpacked:
    """starts: the first row of each batch, counted from the part's own first."""

    reader: pa.ipc.RecordBatchFileReader
    starts: Rows
    bytes: int

    def take(self, rows: Rows, columns: list[str]) -> list[pa.RecordBatch]:
        """Rows of this part, ascending."""
        numbers = np.searchsorted(self.starts, rows, side="right") - 1
        bounds = np.flatnonzero(np.diff(numbers, prepend=-1, append=-1))
        taken = []
        for begin, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            number = int(numbers[begin])
            batch = self.reader.get_batch(number).select(columns)
            wanted = rows[begin:end] - self.starts[number]
            if (np.diff(wanted) == 1).all():
                taken.append(batch.slice(int(wanted[0]), len(wanted)))
            else:
                taken.append(batch.take(pa.array(wanted)))
        return taken


class EarlierParts:
    """Takes rows out of earlier parts. Not for several threads; processes may share the folder.

    firsts: the numbers of the parts' first rows. schema: of the output; a part of another one is as
    good as missing, and so is one whose bytes are not those of its manifest.
    """

    def __init__(
        self,
        parts: list[EarlierPart],
        firsts: Rows,
        store: Store,
        *,
        schema: pa.Schema,
        unpacking: Unpacking,
    ) -> None:
        self._parts = parts
        self._firsts = firsts
        self._store = store
        self._folder = unpacking.folder
        self._leave_free_bytes = unpacking.leave_free_bytes
        self._schema = schema
        self._mapped: OrderedDict[int, _Unpacked] = OrderedDict()

    def take(
        self, rows: Rows, *, columns: list[str] | None = None
    ) -> tuple[pa.RecordBatch, npt.NDArray[np.bool_]]:
        """Rows by number, ascending: those that can be had, and for each wanted whether it can."""
        names = columns or self._schema.names
        schema = pa.schema([self._schema.field(name) for name in names])
        had = np.ones(len(rows), dtype=np.bool_)
        pieces: list[pa.RecordBatch] = []
        numbers = np.searchsorted(self._firsts, rows, side="right") - 1
        bounds = np.flatnonzero(np.diff(numbers, prepend=-1, append=-1))
        for begin, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            number = int(numbers[begin])
            unpacked = self._open(number)
            if unpacked is None:
                had[begin:end] = False
            else:
                pieces += unpacked.take(rows[begin:end] - self._firsts[number], names)
        if not pieces:
            return pa.RecordBatch.from_pylist([], schema=schema), had
        batch = pieces[0] if len(pieces) == 1 else pa.concat_batches(pieces)
        return pa.RecordBatch.from_arrays(batch.columns, schema=schema), had

    def _open(self, number: int) -> _Unpacked | None:
        """An unpacked part; None where it can't be had."""
        if number in self._mapped:
            self._mapped.move_to_end(number)
            return self._mapped[number]
        path = self._folder / f"{number}.arrow"
        unpacked = self._map(path)
        if unpacked is None:
            with _alone(self._folder / f"{number % _LOCKS}.lock"):
                unpacked = self._map(path)
                if unpacked is None and not path.with_suffix(".bad").exists():
                    self._unpack(self._parts[number], path)
                    unpacked = self._map(path)
        if unpacked is not None:
            self._hold(number, unpacked)
        return unpacked

    def _hold(self, number: int, unpacked: _Unpacked) -> None:
        self._mapped[number] = unpacked
        while len(self._mapped) > 1 and self._mapped_bytes() > _MAPPED_BYTES:
            self._mapped.popitem(last=False)

    def _mapped_bytes(self) -> int:
        return sum(unpacked.bytes for unpacked in self._mapped.values())

    def _map(self, path: Path) -> _Unpacked | None:
        try:
            source = pa.memory_map(str(path))
            os.utime(path)
        except FileNotFoundError:
            return None
        reader = pa.ipc.open_file(source)
        sizes = [reader.get_batch(i).num_rows for i in range(reader.num_record_batches)]
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
        return _Unpacked(reader, starts, source.size())

    def _unpack(self, earlier: EarlierPart, path: Path) -> None:
        """Leave the part at path; a mark beside it where it can't be had."""
        fetched, made = path.with_suffix(".parquet"), path.with_suffix(".making")
        try:
            source = self._fetch(earlier, fetched)
            self._make_room(2 * earlier.part.bytes)
            self._convert(source, made)
            made.rename(path)
        except _UnfitError as error:
            path.with_suffix(".bad").touch()
            _log.warning("nothing is taken over from %s: %s", earlier.key, error)
        finally:
            fetched.unlink(missing_ok=True)
            made.unlink(missing_ok=True)

    def _fetch(self, earlier: EarlierPart, path: Path) -> Path | pa.BufferReader:
        """The part's file: at path, or in memory where it is small.

        Raises _UnfitError where it is not there, or not what its manifest says.
        """
        digest, size, part = hashlib.sha256(), 0, earlier.part
        is_small = part.bytes <= _HELD_BYTES
        try:
            with (
                closing(self._store.open_range(earlier.key)) as stream,
                io.BytesIO() if is_small else path.open("wb") as file,
            ):
                while size <= part.bytes and (block := stream.read(_BLOCK_BYTES)):
                    size += len(block)
                    digest.update(block)
                    file.write(block)
                source = pa.BufferReader(file.getvalue()) if isinstance(file, io.BytesIO) else path
        except FileNotFoundError:
            raise _UnfitError("it is missing") from None
        except InputError as error:
            raise _UnfitError(error.what) from error
        if digest.hexdigest() != part.sha256:
            raise _UnfitError("it is damaged: its sha256 is not that of its manifest")
        return source

    def _convert(self, source: Path | pa.BufferReader, made: Path) -> None:
        """Raises _UnfitError where the part has not the columns of the output."""
        with pq.ParquetFile(source) as file:
            if not file.schema_arrow.equals(self._schema):
                raise _UnfitError("it has other columns than the output")
            with pa.ipc.new_file(str(made), self._schema) as writer:
                for batch in file.iter_batches(_BATCH_ROWS, use_threads=False):
                    writer.write_batch(batch)

    def _make_room(self, wanted: int) -> None:
        """Let unpacked parts go until so many bytes may be written."""
        lacking = self._leave_free_bytes + wanted - shutil.disk_usage(self._folder).free
        if lacking <= 0:
            return
        used: list[tuple[float, int, Path]] = []
        for path in self._folder.glob("*.arrow"):
            with suppress(FileNotFoundError):  # another process lets it go too
                status = path.stat()
                used.append((status.st_mtime, status.st_size, path))
        for _, size, path in sorted(used):
            if lacking <= 0:
                return
            path.unlink(missing_ok=True)
            lacking -= size


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """While no other thread or process is inside."""
    with path.open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
