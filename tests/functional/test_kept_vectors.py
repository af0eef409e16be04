"""Query vectors kept beside an output: those that were kept, or none."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from embed_job.opensearch.canary.kept import keep_vectors, kept_vectors
from embed_job.storage.local import LocalStore

TEXTS = [f"query {number}" for number in range(20)]
MODEL = "a" * 64


def test_damaged_vectors_are_no_vectors_and_are_kept_anew(tmp_path: Path) -> None:
    """A byte that has changed must never stand for what a model says."""
    store, folder = LocalStore(), str(tmp_path)
    vectors = np.random.default_rng(0).standard_normal((20, 16)).astype(np.float32)
    keep_vectors(store, folder, TEXTS, vectors, model_fingerprint=MODEL)
    [path] = tmp_path.rglob("queries.parquet")
    whole = path.read_bytes()
    lost = 0
    for place in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        found = kept_vectors(store, folder, TEXTS, model_fingerprint=MODEL)
        assert found is None or np.array_equal(found, vectors), place
        lost += found is None
    assert lost
    keep_vectors(store, folder, TEXTS, vectors, model_fingerprint=MODEL)
    found = kept_vectors(store, folder, TEXTS[::-1], model_fingerprint=MODEL)
    np.testing.assert_array_equal(found, vectors[::-1])
    assert kept_vectors(store, folder, TEXTS, model_fingerprint="b" * 64) is None
