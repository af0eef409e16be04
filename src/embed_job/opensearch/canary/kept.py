"""Query vectors kept beside an output: they outlive the model that made them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embed_job.commit.commits import Commits
from embed_job.engine import Vectors
from embed_job.opensearch.target import KEPT_QUERIES
from embed_job.storage import Store

_FILE = "queries.parquet"
_MODEL = b"embed_job.model_fingerprint"


def keep_vectors(
    store: Store, folder: str, texts: Sequence[str], vectors: Vectors, *, model_fingerprint: str
) -> None:
    """Keep the vectors of these texts, and of no others, in an output's folder.

    vectors: float32 [texts, dimension]. The texts themselves are not kept, only their hashes.
    """
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).ravel())
    table = pa.table(
        {
            "text": pa.array([_digest(text) for text in texts], pa.binary(16)),
            "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
        }
    ).replace_schema_metadata({_MODEL: model_fingerprint.encode()})
    data = io.BytesIO()
    pq.write_table(table, data, write_page_checksum=True)
    store.replace(_key(store, folder), data.getvalue())


def kept_vectors(
    store: Store, folder: str, texts: Sequence[str], *, model_fingerprint: str
) -> Vectors | None:
    """The vectors of these texts, float32 [texts, dimension]; None where one of them is not kept,
    or they are another model's, or the file is damaged."""
    try:
        data = store.read(_key(store, folder))
    except FileNotFoundError:
        return None
    try:
        return _vectors_of(data, texts, model_fingerprint)
    except (OSError, ValueError, LookupError, AttributeError):
        # A damaged page is an OSError of pyarrow's; damaged names and types are the others.
        return None


def _vectors_of(data: bytes, texts: Sequence[str], model_fingerprint: str) -> Vectors | None:
    table = pq.read_table(io.BytesIO(data), page_checksum_verification=True)
    if (table.schema.metadata or {}).get(_MODEL) != model_fingerprint.encode():
        return None
    places = {digest: row for row, digest in enumerate(table.column("text").to_pylist())}
    rows = [places.get(_digest(text)) for text in texts]
    if None in rows:
        return None
    column = table.column("vector").combine_chunks()
    flat = column.flatten().to_numpy(zero_copy_only=False)
    vectors: Vectors = flat.reshape(len(table), -1)[np.array(rows, np.int64)]
    return vectors


def _digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=16).digest()


def _key(store: Store, folder: str) -> str:
    return Commits(store, folder).key(KEPT_QUERIES, _FILE)
