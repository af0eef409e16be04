"""What follows pooling: dense layers and normalisation, for the few rows of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from embed_job.bundle.encoder import Linear
from embed_job.bundle.info import Dense, HeadStep
from embed_job.engine import Vectors

_LEAST_NORM = np.float32(1e-12)
"""As torch.nn.functional.normalize divides."""


def apply_head(pooled: Vectors, head: Sequence[HeadStep], dense: Sequence[Linear]) -> Vectors:
    """Vectors [texts, dimension] from pooled states [texts, hidden]; dense: of each Dense."""
    layers = iter(dense)
    for step in head:
        if isinstance(step, Dense):
            linear = next(layers)
            pooled = pooled @ linear.weight + linear.bias
            pooled = np.tanh(pooled) if step.activation == "tanh" else pooled
        else:
            norms = np.sqrt(np.einsum("ij,ij->i", pooled, pooled))[:, None]
            pooled = pooled / np.maximum(norms, _LEAST_NORM)
    return pooled
