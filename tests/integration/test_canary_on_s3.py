"""A canary's queries, and the vectors kept of them, in S3."""

from __future__ import annotations

import numpy as np
import pytest

from embed_job.errors import InputError
from embed_job.opensearch.canary.kept import keep_vectors, kept_vectors
from embed_job.opensearch.canary.queries import read_queries
from embed_job.storage import store_for

TEXTS = ["how do I read a zip file", "Zürich", "a lighthouse"]


@pytest.fixture
def folder(s3_bucket: str) -> str:
    return f"s3://{s3_bucket}/vectors/kb"


@pytest.fixture
def vectors() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((len(TEXTS), 8)).astype(np.float32)


def test_queries_are_read_from_s3(s3_bucket: str) -> None:
    uri = f"s3://{s3_bucket}/queries.jsonl"
    with pytest.raises(InputError, match="there is no such file"):
        read_queries(uri)
    store_for(uri).replace(uri, b'{"query": "how do I read a zip file"}\n')
    (query,) = read_queries(uri)
    assert (query.text, query.where) == ("how do I read a zip file", f"{uri}:1")


def test_what_was_kept_comes_back_exactly_in_any_order(folder: str, vectors: np.ndarray) -> None:
    store = store_for(folder)
    assert kept_vectors(store, folder, TEXTS, model_fingerprint="a") is None
    keep_vectors(store, folder, TEXTS, vectors, model_fingerprint="a")
    found = kept_vectors(store, folder, TEXTS[::-1], model_fingerprint="a")
    assert np.array_equal(found, vectors[::-1])
    assert kept_vectors(store, folder, TEXTS, model_fingerprint="b") is None
    assert kept_vectors(store, folder, [*TEXTS, "new"], model_fingerprint="a") is None


def test_the_last_queries_replace_those_before(folder: str, vectors: np.ndarray) -> None:
    store = store_for(folder)
    keep_vectors(store, folder, TEXTS, vectors, model_fingerprint="a")
    keep_vectors(store, folder, TEXTS[:1], vectors[:1], model_fingerprint="a")
    assert kept_vectors(store, folder, TEXTS, model_fingerprint="a") is None
    assert kept_vectors(store, folder, TEXTS[:1], model_fingerprint="a") is not None


def test_a_torn_file_is_as_none(folder: str) -> None:
    store = store_for(folder)
    store.replace(f"{folder}/_embed_job/canary/queries.parquet", b"PAR1 and then nothing")
    assert kept_vectors(store, folder, TEXTS, model_fingerprint="a") is None
