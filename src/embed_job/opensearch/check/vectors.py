"""Whether a vector came back as it was written, but for what an index's storage loses."""

from __future__ import annotations

import numpy as np

from embed_job.engine import Vectors
from embed_job.opensearch.search.question import quantised
from embed_job.opensearch.target import IndexTarget


def comes_back(target: IndexTarget, stored: object, vector: Vectors) -> bool:
    """Whether what an index answers is the vector that was written.

    float32 and on_disk: the very numbers. float16: each within its rounding, 2⁻¹¹ of its size,
    where the server gives what its graph keeps. byte: round(127·v), give or take 1.
    """
    if not isinstance(stored, list) or len(stored) != len(vector):
        return False
    storage = target.output.graph.storage
    found = np.array(stored, np.float64)
    if storage == "byte":
        return bool((np.abs(found - quantised(vector)) <= 1).all())
    if storage == "float16":
        return bool(np.allclose(found, vector, rtol=2**-11, atol=2**-24))
    return bool((found.astype(np.float32) == vector).all())
