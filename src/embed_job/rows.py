"""The rows of an output: their schema, and a window's chunks and vectors as Arrow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embed_job.chunk.window import Chunk, Window
from embed_job.engine import Vectors
from embed_job.manifest import DatasetDescriptor
from embed_job.records import Document
from embed_job.source.metadata import arrow_type


def output_schema(dataset: DatasetDescriptor) -> pa.Schema:
    """Columns of an output, in order: id to split, text if chosen, metadata, vector."""
    value = pa.float16() if dataset.vector_type == "float16" else pa.float32()
    fields = [
        pa.field("id", pa.string(), nullable=False),
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("chunk", pa.int32(), nullable=False),
        pa.field("char_start", pa.int64(), nullable=False),
        pa.field("char_end", pa.int64(), nullable=False),
        pa.field("n_tokens", pa.int32(), nullable=False),
        pa.field("content_hash", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
    ]
    if dataset.text:
        fields.append(pa.field("text", pa.string(), nullable=False))
    fields += [pa.field(name, arrow_type(kind)) for name, kind in dataset.columns.items()]
    element = pa.field("element", value, nullable=False)
    fields.append(pa.field("vector", pa.list_(element, dataset.dimension), nullable=False))
    return pa.schema(fields)


def content_hash(text: str) -> str:
    """128-bit BLAKE2b of a chunk's text, in hex."""
    return blake2b(text.encode(), digest_size=16).hexdigest()


def make_rows(
    schema: pa.Schema,
    window: Window,
    vectors: Vectors,
    kept: npt.NDArray[np.bool_],
    *,
    origin: str,
) -> pa.RecordBatch:
    """Rows of a window's chunks, in their order, less those not kept.

    vectors: float32 [chunks, dimension]; kept: bool [chunks]. A row's id is its document's, or
    ``doc_id#chunk`` where the document has several chunks. origin: the split that writes them, as
    of :func:`embed_job.manifest.origin_of`.
    """
    chunks, n_tokens = window.chunks, window.tokens.lengths
    if not kept.all():
        chunks = [chunk for chunk, keep in zip(chunks, kept.tolist(), strict=True) if keep]
        n_tokens, vectors = n_tokens[kept], vectors[kept]
    if not chunks:
        return pa.RecordBatch.from_pylist([], schema=schema)
    documents, numbers, starts, ends, texts, alone = zip(*chunks, strict=True)
    owners = list(map(window.documents.__getitem__, documents))
    doc_ids = pa.array([owner.doc_id for owner in owners], pa.string())
    columns: dict[str, object] = {
        "id": doc_ids if all(alone) else _row_ids(owners, chunks),
        "doc_id": doc_ids,
        "chunk": numbers,
        "char_start": starts,
        "char_end": ends,
        "n_tokens": n_tokens.astype(np.int32),
        "content_hash": list(map(content_hash, texts)),
        "split": pa.repeat(pa.scalar(origin, pa.string()), len(chunks)),
        "text": texts,
    }
    columns |= _metadata(schema, owners)
    columns["vector"] = _vector_array(vectors, schema.field("vector").type)
    arrays = [_array(columns[field.name], field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _row_ids(owners: Sequence[Document], chunks: Sequence[Chunk]) -> list[str]:
    return [
        owner.doc_id if chunk.only else f"{owner.doc_id}#{chunk.number}"
        for owner, chunk in zip(owners, chunks, strict=True)
    ]


def _array(values: object, kind: pa.DataType) -> pa.Array:
    return values if isinstance(values, pa.Array) else pa.array(values, kind)


def _metadata(schema: pa.Schema, owners: Sequence[Document]) -> Mapping[str, object]:
    first = schema.get_field_index("text") + 1 or schema.get_field_index("split") + 1
    names = schema.names[first : schema.get_field_index("vector")]
    return {name: [owner.metadata[column] for owner in owners] for column, name in enumerate(names)}


def _vector_array(vectors: Vectors, kind: pa.DataType) -> pa.Array:
    flat = np.ascontiguousarray(vectors, dtype=kind.value_type.to_pandas_dtype()).reshape(-1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat, kind.value_type), type=kind)
