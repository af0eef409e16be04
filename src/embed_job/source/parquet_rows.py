"""Rows of a Parquet file as records, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from embed_job.records import Reason
from embed_job.source import SourceFile
from embed_job.source.blocks import Damaged, is_damage, max_expanded_bytes
from embed_job.source.record import Refused, excerpt
from embed_job.storage import Store

MAX_BATCH_ROWS = 1024
BATCH_BYTES = 4 << 20
"""What a batch of rows should come to, by the row group's mean."""


def open_parquet(store: Store, file: SourceFile) -> pq.ParquetFile:
    """Reads the footer alone. :class:`Damaged` where the file is cut short or no Parquet."""
    stream = store.open_seekable(file.key, etag=file.etag)
    try:
        return pq.ParquetFile(stream, pre_buffer=False)
    except BaseException as error:
        stream.close()
        if is_damage(error):
            raise Damaged(f"damaged Parquet: {excerpt(str(error))}") from error
        raise


def read_rows(
    parquet: pq.ParquetFile, start: int, end: int, names: Sequence[str]
) -> Iterator[tuple[int, Mapping[str, Any] | Refused]]:
    """Rows of the row groups [start, end): the row's number in the file, counted from 1, and its
    fields as Python values, timestamps with microseconds. :class:`Damaged` from where on it can't
    be read."""
    present = [name for name in names if name in parquet.schema_arrow.names]
    row = sum(parquet.metadata.row_group(group).num_rows for group in range(start)) + 1
    for group in range(start, end):
        for batch in _batches(parquet, group, present):
            columns = [_values(column) for column in batch.columns]
            for values in zip(*columns, strict=True) if columns else [()] * batch.num_rows:
                yield row, _record(present, values)
                row += 1


def _batches(parquet: pq.ParquetFile, group: int, names: list[str]) -> Iterator[pa.RecordBatch]:
    about = parquet.metadata.row_group(group)
    stored = sum(about.column(i).total_compressed_size for i in range(about.num_columns))
    if about.total_byte_size > max_expanded_bytes(stored):
        raise Damaged(f"decompression bomb: row group {group} holds {about.total_byte_size} bytes")
    mean_bytes = about.total_byte_size // max(1, about.num_rows) + 1
    rows = max(1, min(MAX_BATCH_ROWS, BATCH_BYTES // mean_bytes))
    try:
        yield from parquet.iter_batches(
            batch_size=rows, row_groups=[group], columns=names, use_threads=False
        )
    except (pa.ArrowException, OSError) as error:
        if not is_damage(error):
            raise
        raise Damaged(f"damaged Parquet: {excerpt(str(error))}") from error


def _values(column: pa.Array) -> list[Any]:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", tz=column.type.tz), safe=False)
    try:
        return column.to_pylist()  # type: ignore[no-any-return]
    except (ValueError, OverflowError, pa.ArrowException):
        return [_value(scalar) for scalar in column]


def _value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError, pa.ArrowException) as error:
        return error


def _record(names: list[str], values: tuple[Any, ...]) -> Mapping[str, Any] | Refused:
    for name, value in zip(names, values, strict=True):
        if isinstance(value, UnicodeDecodeError):
            return Refused(Reason.ENCODING, f"'{name}': byte {value.start} is not UTF-8")
        if isinstance(value, Exception):
            return Refused(Reason.BAD_METADATA, f"'{name}': {excerpt(str(value))}")
    return dict(zip(names, values, strict=True))
