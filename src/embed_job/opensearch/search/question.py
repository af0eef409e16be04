"""A vector as an index takes it, a score as a cosine, and how many to look at."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from embed_job.engine import Vectors
from embed_job.opensearch.delivery.encode import BYTE_SCALE

MIN_K = 100
"""Lucene looks at k candidates and no more, so a smaller k measures k and not the index."""

Space = Literal["innerproduct", "cosinesimil"]


def quantised(vectors: Vectors) -> npt.NDArray[np.int8]:
    """As storage `byte` keeps vectors of length 1."""
    scaled = np.clip(np.rint(vectors * BYTE_SCALE), -BYTE_SCALE, BYTE_SCALE)
    return scaled.astype(np.int8)


def nearest_query(
    vector: Vectors, *, k: int, is_byte: bool, filters: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """The query for the k nearest of those that pass the filters; MIN_K of them at least.

    vector: float32 [dimension]. Filters are within the search, so k pass them where there are k.
    """
    values = quantised(vector) if is_byte else vector
    inner: dict[str, Any] = {"vector": values.tolist(), "k": max(k, MIN_K)}
    if filters:
        inner["filter"] = {"bool": {"filter": filters}}
    return {"knn": {"vector": inner}}


def cosine_of(score: float, *, space: Space, is_byte: bool) -> float:
    """The cosine behind a score of the server.

    It answers 1 + x·y for a product of 0 or more and 1 / (1 - x·y) below, and for cosinesimil
    (1 + cosine) / 2 (docs.opensearch.org, "Spaces"). Products are cosines as vectors there have
    length 1; those of bytes are of length 127, but for rounding.
    """
    if space == "cosinesimil":
        return 2 * score - 1
    product = score - 1 if score >= 1 else 1 - 1 / score
    return product / BYTE_SCALE**2 if is_byte else product
