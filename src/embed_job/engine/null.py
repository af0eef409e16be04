"""An engine without a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from embed_job.engine import Tokens, Vectors
from embed_job.engine.facts import EngineFacts

_ROWS = 4096
_MIX = np.uint64(0x9E3779B97F4A7C15)
"""2⁶⁴ ÷ the golden ratio: multiplying by it spreads neighbouring numbers apart."""


class NullEngine:
    """Unit vectors that are a hash of the token ids.

    For measuring and testing everything but the model; never for search: texts of like meaning
    get unlike vectors, and one text in 4096 shares its vector with another.
    """

    def __init__(self, *, dimension: int) -> None:
        self.batch_tokens = 512
        self.packs = True
        self.facts = EngineFacts("null", "CPU")
        self.dimension = dimension
        table = np.random.default_rng(20240229).standard_normal((_ROWS, dimension), np.float32)
        self._table = table / np.linalg.norm(table, axis=1, keepdims=True)

    def embed(self, batch: Tokens) -> Vectors:
        """Vectors of one batch, float32 [len(batch), dimension]; they follow from each text's
        ids and their order alone."""
        lengths = batch.lengths
        starts = batch.offsets[:-1]
        places = np.arange(len(batch.ids), dtype=np.int64) - np.repeat(starts, lengths)
        mixed = (batch.ids.astype(np.uint64) + np.uint64(1)) * _MIX
        mixed ^= mixed >> np.uint64(29)
        mixed *= (places.astype(np.uint64) << np.uint64(1)) + np.uint64(1)
        # One zero more, so that an empty text at the end has a place to begin at.
        sums = np.add.reduceat(np.append(mixed, np.uint64(0)), starts) if len(batch) else mixed[:0]
        sums[lengths == 0] = 0
        rows = ((sums * _MIX) >> np.uint64(52)).astype(np.int64)
        vectors: Vectors = self._table[rows]
        return vectors

    def embed_each(self, batches: Iterable[Tokens]) -> Iterator[Vectors]:
        """Vectors of batch after batch, one at a time."""
        return map(self.embed, batches)

    def padded_tokens(self, batch: Tokens) -> int:
        """Tokens of the batch: nothing is padded."""
        return len(batch.ids)
