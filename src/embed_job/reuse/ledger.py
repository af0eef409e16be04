"""The ledger of a split: for each row of its parts, in their order, by what it is known again.

    doc       uint64       hash of the document's id, as of embed_job.ids
    document  16 bytes     hash of the whole document; null where it is not known
    text      uint64       hash of the document's text; null where it is not known
    content   16 bytes     what the row's vector follows from; null where it is not known
    chunk     int32        number of the chunk within its document
    lost      int32        tokens of the document that are in no chunk, told on its last row

A vector follows from its text, and of a truncated text from the tokens that were kept as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from embed_job.chunk.window import Window
from embed_job.ids import hash_ids
from embed_job.reuse.document_hash import (
    KEY,
    KEY_BYTES,
    Keys,
    as_keys,
    hash_documents,
    hash_texts,
    is_known,
)
from embed_job.storage import Store

_KEY = pa.binary(KEY_BYTES)

LEDGER_SCHEMA = pa.schema(
    [
        pa.field("doc", pa.uint64(), nullable=False),
        pa.field("document", _KEY),
        pa.field("text", pa.uint64()),
        pa.field("content", _KEY),
        pa.field("chunk", pa.int32(), nullable=False),
        pa.field("lost", pa.int32(), nullable=False),
    ]
)

_GATHERED_ROWS = 1 << 16
"""Rows of a row group: 3.5 MB at most."""


class LedgerError(Exception):
    """A ledger is missing or damaged: what it tells has to be found otherwise, or done without."""


class LedgerWriter:
    """Writes a ledger to a local file, opened with the first row. Memory: _GATHERED_ROWS."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: pq.ParquetWriter | None = None
        self._held: list[pa.RecordBatch] = []
        self._rows = 0

    def write(self, entries: pa.RecordBatch) -> None:
        self._held.append(entries)
        self._rows += entries.num_rows
        if self._rows >= _GATHERED_ROWS:
            self._flush()

    def close(self) -> Path | None:
        """The finished file; None where there were no rows."""
        self._flush()
        if self._writer is None:
            return None
        self._writer.close()
        return self._path

    def abort(self) -> None:
        """Drop what was written."""
        if self._writer is not None:
            self._writer.close()
        self._path.unlink(missing_ok=True)

    def _flush(self) -> None:
        if not self._rows:
            return
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self._path,
                LEDGER_SCHEMA,
                # Hashes don't compress.
                compression={"chunk": "zstd", "lost": "zstd"},
                use_dictionary=["chunk", "lost"],
                write_statistics=False,
                write_page_checksum=True,
            )
        self._writer.write_table(pa.Table.from_batches(self._held, LEDGER_SCHEMA))
        self._held, self._rows = [], 0


def read_ledger(store: Store, key: str) -> pa.Table:
    """The whole table, of LEDGER_SCHEMA. Raises LedgerError where it is missing or damaged."""
    try:
        return decode_ledger(store.read(key))
    except FileNotFoundError:
        raise LedgerError(f"{key} is missing") from None


def decode_ledger(data: bytes) -> pa.Table:
    """As read_ledger, of a file's bytes."""
    try:
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        # Threads cost a ledger of a few hundred rows three times what they save.
        table = file.read(use_threads=False)
    except (pa.ArrowException, OSError, EOFError) as error:
        raise LedgerError(f"damaged: {str(error)[:200]}") from error
    if not table.schema.equals(LEDGER_SCHEMA):
        raise LedgerError(f"other columns: {', '.join(table.schema.names)[:200]}")
    return table


def entries_of(window: Window, kept: npt.NDArray[np.bool_], rows: pa.RecordBatch) -> pa.RecordBatch:
    """The ledger's rows for those that were made of a window's kept chunks."""
    owners = np.array([chunk.document for chunk in window.chunks], dtype=np.int64)[kept]
    contents = content_keys(window, kept, rows.column("content_hash").to_pylist())
    lost = np.zeros(len(window.chunks), dtype=np.int32)
    last = {chunk.document: place for place, chunk in enumerate(window.chunks)}
    for end in window.finished:
        if end.truncated_tokens:
            lost[last[end.document]] = end.truncated_tokens
    doc = hash_ids(document.doc_id for document in window.documents)
    return make_entries(
        doc=doc[owners],
        document=hash_documents(window.documents)[owners],
        text=pa.array(hash_texts(window.documents)[owners]),
        content=contents,
        chunk=rows.column("chunk"),
        lost=lost[kept],
    )


def content_keys(
    window: Window, kept: npt.NDArray[np.bool_], content_hashes: Sequence[str]
) -> Keys:
    """What the vectors of a window's kept chunks follow from: keys [kept chunks].

    content_hashes: of the kept chunks' texts, as rows bear them.
    """
    keys = [bytes.fromhex(content_hash) for content_hash in content_hashes]
    truncated = {end.document for end in window.finished if end.truncated_tokens}
    if truncated:
        ids, offsets = window.tokens.ids, window.tokens.offsets
        for place, index in enumerate(np.flatnonzero(kept).tolist()):
            chunk = window.chunks[index]
            if chunk.only and chunk.document in truncated:
                tokens = ids[offsets[index] : offsets[index + 1]].tobytes()
                keys[place] = blake2b(keys[place] + tokens, digest_size=KEY_BYTES).digest()
    return as_keys(keys)


def make_entries(
    *,
    doc: npt.NDArray[np.uint64],
    document: Keys,
    text: pa.Array,
    content: Keys,
    chunk: pa.Array,
    lost: npt.NDArray[np.int32],
) -> pa.RecordBatch:
    """A ledger's rows from their columns. A key of zeros is an unknown one."""
    columns = [pa.array(doc), _key_array(document), text, _key_array(content)]
    return pa.RecordBatch.from_arrays([*columns, chunk, pa.array(lost)], schema=LEDGER_SCHEMA)


def _key_array(keys: Keys) -> pa.Array:
    known = is_known(keys)
    validity = None if known.all() else pa.array(known).buffers()[1]
    data = pa.py_buffer(np.ascontiguousarray(keys))
    return pa.Array.from_buffers(_KEY, len(keys), [validity, data])


def keys_of(ledger: pa.Table, name: str) -> Keys:
    """A column of keys; nulls as zeros."""
    array = ledger.column(name).combine_chunks()
    data = array.buffers()[1] or b""
    keys: Keys = np.frombuffer(data, dtype=KEY)[array.offset :][: len(array)].copy()
    if array.null_count:
        keys[np.array(array.is_null().to_pylist())] = (0, 0)
    return keys


def numbers_of(ledger: pa.Table, name: str, kind: type[np.generic]) -> npt.NDArray[Any]:
    """A column of integers, of their type in numpy; nulls as zeros."""
    array = ledger.column(name).combine_chunks()
    if array.null_count:
        array = array.fill_null(0)
    return np.frombuffer(array.buffers()[1] or b"", dtype=kind)[array.offset :][: len(array)]
