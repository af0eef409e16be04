"""Texts of token ids, as engines take them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from embed_job.engine import Tokens


def tokens(texts: Sequence[Sequence[int]]) -> Tokens:
    flat = [token for text in texts for token in text]
    offsets = np.cumsum([0, *map(len, texts)])
    return Tokens(np.array(flat, np.int32), offsets.astype(np.int64))
