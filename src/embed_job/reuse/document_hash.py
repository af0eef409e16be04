"""Hashes by which a document is known again: of all that its rows follow from, and of its text."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

from embed_job.records import Document

KEY_BYTES = 16

Keys = npt.NDArray[Any]
"""128-bit hashes, of type KEY."""

KEY = np.dtype([("head", "<u8"), ("tail", "<u8")])


def hash_documents(documents: Iterable[Document]) -> Keys:
    """Keys [n] over id, text and metadata: within one output, equal keys mean equal rows.

    The id is that which the rows bear, a suffix for a repeated one included.
    """
    return as_keys(map(_document_digest, documents))


def _document_digest(document: Document) -> bytes:
    doc_id, text = document.doc_id.encode(), document.text.encode()
    # Lengths keep the fields apart; repr does so of values, and of 1, 1.0, True and "1".
    digest = blake2b(b"%d:%b%d:" % (len(doc_id), doc_id, len(text)), digest_size=KEY_BYTES)
    digest.update(text)  # not joined to the rest: it may be 64 MiB
    digest.update(repr(document.metadata).encode())
    return digest.digest()


def hash_texts(documents: Iterable[Document]) -> npt.NDArray[np.uint64]:
    """64-bit hashes of the texts alone, uint64 [n]."""
    return np.frombuffer(
        b"".join(blake2b(one.text.encode(), digest_size=8).digest() for one in documents),
        dtype=np.uint64,
    )


def as_keys(digests: Iterable[bytes]) -> Keys:
    """128-bit digests as an array."""
    return np.frombuffer(b"".join(digests), dtype=KEY)


def is_known(keys: Keys) -> npt.NDArray[np.bool_]:
    """False where a key is zeros, as a null is told in arrays."""
    known: npt.NDArray[np.bool_] = (keys["head"] != 0) | (keys["tail"] != 0)
    return known
