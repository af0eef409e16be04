"""The ledger of an earlier split, made anew from its parts where it is lost."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embed_job.ids import hash_ids
from embed_job.reuse.document_hash import KEY_BYTES, Keys, as_keys
from embed_job.reuse.ledger import LEDGER_SCHEMA, LedgerError, decode_ledger, make_entries
from embed_job.reuse.splits import EarlierSplit
from embed_job.sink import Part
from embed_job.storage import Store, join

_COLUMNS = ["doc_id", "chunk", "n_tokens", "content_hash"]
_UNKNOWN = bytes(KEY_BYTES)


def ledger_of(
    store: Store,
    split: EarlierSplit,
    *,
    truncates_at: int | None,
    data: bytes | None = None,
) -> pa.Table:
    """The ledger of a split, one row a row of its parts; from the parts where need be.

    truncates_at: as of :func:`embed_job.reuse.splits.truncates_at`. data: the ledger's bytes,
    where they are read already. What a part does not tell is null: whole documents, their texts,
    and contents that may be cut off. Raises LedgerError where a part is missing or damaged too.
    """
    rows = sum(part.rows for part in split.manifest.parts)
    try:
        table = decode_ledger(_read(store, split) if data is None else data)
        if table.num_rows == rows:
            return table
    except LedgerError:
        pass  # it is found in the parts
    parts = [_of_part(store, split, part, truncates_at) for part in split.manifest.parts]
    return pa.Table.from_batches([batch for part in parts for batch in part], LEDGER_SCHEMA)


def _read(store: Store, split: EarlierSplit) -> bytes:
    if split.manifest.ledger is None:
        raise LedgerError("the manifest names none")
    key = join(split.folder, split.manifest.ledger)
    try:
        return store.read(key)
    except FileNotFoundError:
        raise LedgerError(f"{key} is missing") from None


def _of_part(
    store: Store, split: EarlierSplit, part: Part, truncates_at: int | None
) -> list[pa.RecordBatch]:
    key = join(split.folder, part.name)
    try:
        with store.open_seekable(key) as stream:
            batches = pq.ParquetFile(stream).iter_batches(columns=_COLUMNS, use_threads=False)
            entries = [_entries(batch, truncates_at) for batch in batches]
    except FileNotFoundError:
        raise LedgerError(f"{key} is missing") from None
    except (pa.ArrowException, KeyError, ValueError, EOFError) as error:
        raise LedgerError(f"{key} is damaged: {str(error)[:200]}") from error
    except OSError as error:
        # pyarrow raises bare OSErrors for pages that don't decode; those of the system have a
        # number.
        if error.errno is not None:
            raise
        raise LedgerError(f"{key} is damaged: {str(error)[:200]}") from error
    if sum(batch.num_rows for batch in entries) != part.rows:
        raise LedgerError(f"{key} has other rows than its manifest says")
    return entries


def _entries(batch: pa.RecordBatch, truncates_at: int | None) -> pa.RecordBatch:
    content: Keys = as_keys(map(bytes.fromhex, batch.column("content_hash").to_pylist()))
    if truncates_at is not None:
        tokens = np.array(batch.column("n_tokens").to_pylist(), dtype=np.int64)
        content = content.copy()
        content[tokens >= truncates_at] = (0, 0)
    rows = batch.num_rows
    return make_entries(
        doc=hash_ids(batch.column("doc_id").to_pylist()),
        document=as_keys([_UNKNOWN] * rows),
        text=pa.nulls(rows, pa.uint64()),
        content=content,
        chunk=batch.column("chunk"),
        lost=np.zeros(rows, dtype=np.int32),
    )
