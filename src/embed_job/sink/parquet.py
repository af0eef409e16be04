"""Rows to Parquet files: written in the spool, hashed, then moved to the output under a name
that no other attempt uses."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from embed_job.sink import Part
from embed_job.storage import Store, join

MAX_PART_BYTES = 256 << 20
"""A part that has grown to this is closed and the next begun."""

_GROUP_ROWS = 1_024
_GROUP_BYTES = 4 << 20
"""Fewer rows wait for the next ones: a row group of a few costs as much as one of some hundred, to
write and to read."""


class ParquetSink:
    """A :class:`embed_job.sink.SplitSink` that writes ``part-<split>-<attempt>-<n>.parquet``.

    Guarantee: once ``close`` returns, its parts are durable and verified; until the manifest
    names them nobody reads them. Memory: one call's rows, or _GROUP_BYTES of several calls, and
    what Parquet buffers of them.
    """

    def __init__(
        self,
        store: Store,
        folder: str,
        *,
        schema: pa.Schema,
        footer: dict[str, str],
        spool: Path,
        stem: str,
        max_part_bytes: int = MAX_PART_BYTES,
    ) -> None:
        self._store = store
        self._folder = folder
        self._schema = schema
        self._footer = footer
        self._spool = spool
        self._stem = stem
        self._max_part_bytes = max_part_bytes
        self._parts: list[Part] = []
        self._writer: pq.ParquetWriter | None = None
        self._held: list[pa.RecordBatch] = []
        self._rows = 0

    def write(self, rows: pa.RecordBatch) -> None:
        if rows.num_rows == 0:
            return
        self._held.append(rows)
        held_rows = sum(batch.num_rows for batch in self._held)
        held_bytes = sum(batch.nbytes for batch in self._held)
        if held_rows >= _GROUP_ROWS or held_bytes >= min(_GROUP_BYTES, self._max_part_bytes):
            self._flush()

    def _flush(self) -> None:
        """Write what is held as one row group."""
        if not self._held:
            return
        rows, self._held = pa.Table.from_batches(self._held, self._schema), []
        if self._writer is None:
            self._writer = self._open()
        self._writer.write_table(rows, row_group_size=rows.num_rows)
        self._rows += rows.num_rows
        if self._path.stat().st_size >= self._max_part_bytes:
            self._finish_part()

    def close(self) -> list[Part]:
        self._flush()
        if self._writer is not None:
            self._finish_part()
        return self._parts

    def abort(self) -> None:
        with contextlib.suppress(Exception):
            if self._writer is not None:
                self._writer.close()
        with contextlib.suppress(Exception):
            self._path.unlink(missing_ok=True)
            for part in self._parts:
                self._store.delete(join(self._folder, part.name))

    @property
    def _name(self) -> str:
        return f"{self._stem}-{len(self._parts):03}.parquet"

    @property
    def _path(self) -> Path:
        return self._spool / self._name

    def _open(self) -> pq.ParquetWriter:
        self._rows = 0
        return pq.ParquetWriter(
            self._path,
            self._schema.with_metadata(self._footer),
            compression="zstd",
            compression_level=1,
            use_dictionary=[name for name in self._schema.names if name not in _DISTINCT],
            column_encoding=_vector_encoding(self._schema),
            # Least and greatest number of a vector help nobody, and take time to find.
            write_statistics=[name for name in self._schema.names if name != "vector"],
            store_schema=True,
        )

    def _finish_part(self) -> None:
        assert self._writer is not None  # noqa: S101 - both callers have just checked it
        self._writer.add_key_value_metadata({"embed_job.rows": str(self._rows)})
        self._writer.close()
        self._writer = None
        name, path = self._name, self._path
        with path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        part = Part(name=name, rows=self._rows, bytes=path.stat().st_size, sha256=sha256)
        self._store.upload(path, join(self._folder, name))
        self._parts.append(part)


_DISTINCT = frozenset(["id", "doc_id", "content_hash", "text", "vector", "char_end"])


def _vector_encoding(schema: pa.Schema) -> dict[str, str]:
    kind = schema.field("vector").type
    # Splitting the bytes of float32 saves a tenth; DuckDB can't read split float16.
    encoding = "BYTE_STREAM_SPLIT" if kind.value_type == pa.float32() else "PLAIN"
    return {f"vector.list.{kind.value_field.name}": encoding}
