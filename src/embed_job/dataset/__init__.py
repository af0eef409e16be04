"""Reading an output back, through its manifests alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embed_job.commit.commits import Commits
from embed_job.engine import Vectors
from embed_job.errors import OutputError
from embed_job.manifest import DatasetDescriptor, SplitManifest
from embed_job.sink import Part
from embed_job.storage import Store, join, resolve

BATCH_ROWS = 4096
READ_BUFFER_BYTES = 1 << 20
"""How much of a column's pages Parquet reads ahead, so that a large row group is never held."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """An output as of when it was opened. folder: its key; descriptor: whose it is.

    splits: the manifests that count, in order of their identities. complete: a job manifest says
    that these are all; otherwise they are what was committed so far.
    """

    store: Store
    folder: str
    descriptor: DatasetDescriptor
    splits: tuple[SplitManifest, ...]
    complete: bool

    def manifests(self) -> Iterator[SplitManifest]:
        return iter(self.splits)

    def parts(self) -> Iterator[tuple[SplitManifest, Part]]:
        """Every file of rows, with the manifest that names it."""
        for manifest in self.splits:
            for part in manifest.parts:
                yield manifest, part

    @property
    def rows(self) -> int:
        """How many rows there are, by the manifests."""
        return sum(part.rows for _, part in self.parts())

    def iter_rows(
        self, *, columns: Sequence[str] | None = None, batch_rows: int = BATCH_ROWS
    ) -> Iterator[pa.RecordBatch]:
        """All rows in batches of at most batch_rows; columns None: all of them.

        Memory: one batch and READ_BUFFER_BYTES a column. Raises OutputError where a file is
        missing, damaged, or not what its manifest says.
        """
        for manifest in self.splits:
            yield from self.split_rows(manifest, columns=columns, batch_rows=batch_rows)

    def split_rows(
        self,
        manifest: SplitManifest,
        *,
        columns: Sequence[str] | None = None,
        batch_rows: int = BATCH_ROWS,
    ) -> Iterator[pa.RecordBatch]:
        """The rows of one split of this output, committed since it was opened or before; else as
        iter_rows."""
        for part in manifest.parts:
            yield from self._rows_of(part, columns, batch_rows)

    def _rows_of(
        self, part: Part, columns: Sequence[str] | None, batch_rows: int
    ) -> Iterator[pa.RecordBatch]:
        key = join(self.folder, part.name)
        seen = 0
        try:
            with self.store.open_seekable(key) as stream:
                file = pq.ParquetFile(stream, buffer_size=READ_BUFFER_BYTES, pre_buffer=False)
                self._check_fingerprint(key, file)
                for batch in file.iter_batches(batch_rows, columns=_listed(columns)):
                    seen += batch.num_rows
                    yield batch
        except FileNotFoundError:
            raise OutputError(
                key,
                "is named by a manifest but not there",
                "Restore that file; or, if it is gone, embed anew into an empty folder.",
            ) from None
        except (pa.ArrowInvalid, pa.ArrowTypeError, EOFError) as error:
            raise _damaged(key, str(error)) from error
        except OSError as error:
            # pyarrow raises bare OSErrors for pages that don't decode; those of the system have
            # a number.
            if error.errno is not None:
                raise
            raise _damaged(key, str(error)) from error
        if seen != part.rows:
            raise _damaged(key, f"{seen} rows, {part.rows} in the manifest")

    def _check_fingerprint(self, key: str, file: pq.ParquetFile) -> None:
        found = (file.metadata.metadata or {}).get(b"embed_job.fingerprint", b"").decode()
        if found != self.descriptor.fingerprint:
            raise OutputError(
                key,
                f"has the fingerprint {found[:12] or '(none)'}, "
                f"its folder {self.descriptor.fingerprint[:12]}",
                "Two fingerprints never mix: find out who wrote this file, or run the job into "
                "an empty folder.",
            )


def open_dataset(store: Store, uri: str) -> Dataset:
    """An output by its folder. Raises OutputError where it is none, or its manifests disagree."""
    folder = resolve(uri).rstrip("/")
    commits = Commits(store, folder)
    descriptor = commits.existing()
    found = commits.committed(descriptor.fingerprint)
    job = commits.job()
    if job is None:
        names = sorted(found)
    elif job.fingerprint != descriptor.fingerprint:
        raise OutputError(
            commits.key("job.json"),
            f"has the fingerprint {job.fingerprint[:12]}, not {descriptor.fingerprint[:12]}",
            "Two fingerprints never mix: run the job into an empty folder.",
        )
    else:
        names = sorted(job.splits)
    missing = [name for name in names if name not in found]
    if missing:
        raise OutputError(
            commits.key("manifests", f"{missing[0]}.json"),
            "is named by the job but not there",
            "Run the job again: it embeds the split anew.",
        )
    splits = tuple(found[name] for name in names)
    return Dataset(store, folder, descriptor, splits, complete=job is not None)


def vectors_of(batch: pa.RecordBatch) -> Vectors:
    """The vectors of rows, float32 [rows, dimension], whatever type they are stored as."""
    column = batch.column("vector")
    flat = column.flatten()
    # Straight from the buffer: to_numpy would import pandas, where it is installed, for seconds.
    values = np.frombuffer(flat.buffers()[1] or b"", flat.type.to_pandas_dtype())
    own = values[flat.offset : flat.offset + len(flat)].astype(np.float32, copy=False)
    matrix: Vectors = own.reshape(batch.num_rows, column.type.list_size)
    return matrix


def _listed(columns: Sequence[str] | None) -> list[str] | None:
    return None if columns is None else list(columns)


def _damaged(key: str, why: str) -> OutputError:
    return OutputError(
        key,
        f"is damaged ({why[:200]})",
        "`embed-job verify` looks at every file; remove the split's manifest and run again.",
    )
