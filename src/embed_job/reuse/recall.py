"""Texts that are known: their vectors are taken from earlier parts, not computed."""

from __future__ import annotations

import numpy as np

from embed_job.batch import Known
from embed_job.chunk.window import Window
from embed_job.dataset import vectors_of
from embed_job.reuse.ledger import content_keys
from embed_job.reuse.lookup import Lookup
from embed_job.reuse.parts import EarlierParts
from embed_job.rows import content_hash


class Recall:
    """Finds the vectors of a window's known chunks. For one thread."""

    def __init__(self, lookup: Lookup, parts: EarlierParts) -> None:
        self._lookup = lookup
        self._parts = parts

    def known(self, window: Window) -> Known | None:
        """Which chunks have a vector already, and these; None where none has.

        A vector that is no direction, such as one that a smaller type could not hold, is none, and
        so is one of a row that bears another text's hash than the ledger says.
        """
        hashes = [content_hash(chunk.text) for chunk in window.chunks]
        every = np.ones(len(window.chunks), dtype=np.bool_)
        rows = self._lookup.contents(content_keys(window, every, hashes))
        places = np.flatnonzero(rows >= 0)
        if not len(places):
            return None
        distinct, inverse = np.unique(rows[places], return_inverse=True)
        batch, had = self._parts.take(distinct, columns=["content_hash", "vector"])
        stands = np.cumsum(had) - 1
        places, taken = places[had[inverse]], stands[inverse[had[inverse]]]
        found = batch.column("content_hash").to_pylist()
        vectors = vectors_of(batch)
        squares = np.einsum("ij,ij->i", vectors, vectors)
        is_good = np.isfinite(squares) & (squares > 0)
        good = np.array(
            [
                bool(is_good[row]) and found[row] == hashes[place]
                for place, row in zip(places.tolist(), taken.tolist(), strict=True)
            ],
            dtype=np.bool_,
        )
        if not good.any():
            return None
        return Known(places[good], vectors[taken[good]])
