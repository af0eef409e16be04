"""Rows of Parquet as the lines of a bulk request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from embed_job.dataset import vectors_of
from embed_job.opensearch.delivery.chunks import Operation
from embed_job.opensearch.delivery.results import Refused
from embed_job.opensearch.delivery.tier import Tier
from embed_job.opensearch.target import ID, VECTOR

Storage = Literal["float32", "float16", "byte", "on_disk"]

MAX_ID_BYTES = 512
"""Of an ``_id``. The server refuses a whole bulk for one that is longer, or empty."""
BYTE_SCALE = 127
"""A component of 1.0 where storage is byte."""

_DOCUMENT = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE


@dataclass(frozen=True, slots=True)
class Encoder:
    """Encodes for one index. storage: as in the spec; generation: the version that rows get."""

    tier: Tier
    storage: Storage
    generation: int

    def encode(self, batch: pa.RecordBatch) -> Iterator[Operation | Refused]:
        """One for each row, in order; its columns are the document's fields.

        A vector's numbers round-trip exactly; with storage byte they are round(127·v), within
        ±127. Times are ISO 8601 in UTC. A row with a number that is not finite (JSON has none)
        or with an id that can't be an ``_id`` is refused.
        """
        names = [name for name in batch.schema.names if name not in (ID, VECTOR)]
        columns = [_values(batch.column(name)) for name in names]
        matrix = vectors_of(batch)
        vectors = _bytes_of(matrix) if self.storage == "byte" else matrix
        bad = _not_finite(batch, matrix)
        ids, doc_ids = batch.column(ID).to_pylist(), batch.column("doc_id").to_pylist()
        names.append(VECTOR)
        rows = zip(ids, doc_ids, zip(*columns, vectors, strict=True), strict=True)
        for number, (row_id, doc_id, values) in enumerate(rows):
            reason = bad.get(number) or self._bad_id(row_id)
            if reason:
                yield Refused(row_id, doc_id, reason, 0)
                continue
            document = dict(zip(names, values, strict=True))
            document.update(self.tier.extra_fields(row_id))
            yield Operation(
                row_id,
                doc_id,
                self.tier.action(row_id, self.generation),
                orjson.dumps(document, option=_DOCUMENT),
            )

    def _bad_id(self, row_id: str) -> str | None:
        # Four bytes a character at most, so that most ids need not be encoded to be measured.
        if not self.tier.checks_ids or 0 < len(row_id) <= MAX_ID_BYTES // 4:
            return None
        size = len(row_id.encode())
        if 0 < size <= MAX_ID_BYTES:
            return None
        return f"bad_id: {size} bytes, an _id has 1 to {MAX_ID_BYTES}"


def _values(column: pa.Array) -> Sequence[Any]:
    """A column as what orjson encodes."""
    if not pa.types.is_timestamp(column.type):
        values: list[Any] = column.to_pylist()
        return values
    moments = column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_pylist()
    known = np.array([moment or 0 for moment in moments], "datetime64[us]")
    texts = np.datetime_as_string(known, timezone="UTC").tolist()
    return [None if moment is None else text for moment, text in zip(moments, texts, strict=True)]


def _not_finite(batch: pa.RecordBatch, matrix: npt.NDArray[np.float32]) -> dict[int, str]:
    """The reason by row, for rows with NaN or an infinity."""
    found: dict[int, str] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if pa.types.is_floating(column.type):
            finite = pc.fill_null(pc.is_finite(column), True)
            if not pc.all(finite).as_py():
                rows = np.flatnonzero(~np.array(finite.to_pylist()))
                found |= dict.fromkeys(rows.tolist(), f"not_finite: {name}")
    whole = np.isfinite(matrix).all(axis=1)
    return found | dict.fromkeys(np.flatnonzero(~whole).tolist(), f"not_finite: {VECTOR}")


def _bytes_of(matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.int8]:
    scaled = np.rint(np.clip(matrix, -1, 1) * BYTE_SCALE)
    return np.nan_to_num(scaled).astype(np.int8)
