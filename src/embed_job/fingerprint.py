"""The fingerprint of a job: equal where, and only where, the same input gives the same rows."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from embed_job.spec import JobSpec

CHUNKER_VERSION = 1
"""Raised when the chunker or the reader would cut or read the same text otherwise."""


def job_fingerprint(spec: JobSpec, *, model: str, prompt: str, max_tokens: int) -> str:
    """sha256 in hex over everything that changes a vector or a row.

    model: the bundle's own fingerprint, which covers weights, tokenizer, pooling, normalisation
    and precision. prompt: the text put before each document.
    """
    covered = {
        "model": model,
        "engine": "null" if spec.model.engine == "null" else "any",
        "prompt": prompt,
        "chunker": CHUNKER_VERSION,
        "chunk": spec.chunk.model_dump(exclude={"max_tokens"}),
        "max_tokens": max_tokens,
        "fields": spec.input.fields.model_dump(),
        "on_duplicate_id": spec.input.on_duplicate_id,
        "max_id_bytes": spec.input.max_id_bytes,
        "max_document_mib": spec.input.max_document_mib,
    }
    return digest(covered)


def digest(value: Any) -> str:
    """sha256 in hex of a value's canonical JSON."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()
