"""The nearest of many vectors, by cosine."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from embed_job.engine import Vectors


def unit(vectors: Vectors) -> Vectors:
    """Vectors of length one, float32, along the last axis; a zero stays zero."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: Vectors = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    return scaled


def cosines(matrix: Vectors, query: Vectors) -> npt.NDArray[np.float32]:
    """Cosine of each row with query; -inf where a row holds NaN or infinity."""
    with np.errstate(invalid="ignore", over="ignore"):
        scores = unit(matrix) @ unit(query)
    finite: npt.NDArray[np.float32] = np.where(np.isfinite(scores), scores, -np.inf)
    return finite


def nearest(
    matrix: Vectors, query: Vectors, k: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Cosines and row numbers of the k rows nearest to query, best first.

    matrix: [rows, dimension]. Of equals the earlier row comes first. Rows with NaN or infinity
    are never among them.
    """
    scores = cosines(matrix, query)
    k = min(k, len(scores))
    if k <= 0:
        return scores[:0], np.zeros(0, np.int64)
    # Everything at least as good as the k-th, ties included, then in order.
    floor = np.partition(scores, len(scores) - k)[len(scores) - k]
    rows = np.flatnonzero((scores >= floor) & np.isfinite(scores))
    best = rows[np.argsort(-scores[rows], kind="stable")][:k]
    return scores[best], best
