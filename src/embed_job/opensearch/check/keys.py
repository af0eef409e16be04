"""Rows known by two 64-bit hashes each, and how two sets of them differ.

16 bytes a row, whatever its id's length. Of 10 million rows two share a hash with a probability
of 3e-6; such a pair could hide one lost row and makes up none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from embed_job.ids import Hashes, hash_ids

_ODD = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class Keys:
    """Rows by the hashes of their ids and of their contents: uint64 [rows] each, in one order."""

    ids: Hashes
    contents: Hashes

    def without(self, ids: Hashes) -> Keys:
        """Less the rows of those ids."""
        if not len(ids):
            return self
        kept = ~np.isin(self.ids, ids)
        return Keys(self.ids[kept], self.contents[kept])

    def pairs(self) -> Hashes:
        """One hash of both, uint64 [rows]."""
        mixed: Hashes = self.ids * _ODD + self.contents
        return mixed


@dataclass(frozen=True, slots=True)
class Difference:
    """Hashes of ids: expected and not found, found and not expected, found with other contents.

    repeats: rows found beyond the first of an id.
    """

    missing: Hashes
    foreign: Hashes
    changed: Hashes
    repeats: int


def no_hashes() -> Hashes:
    """No row at all."""
    return np.empty(0, np.uint64)


def keys_of(ids: Sequence[str], contents: Sequence[str]) -> Keys:
    """The keys of rows by their ids and their content hashes."""
    return Keys(hash_ids(ids), hash_ids(contents))


def join_keys(blocks: Iterable[Keys]) -> Keys:
    """All rows of several blocks."""
    found = [*blocks]
    return Keys(
        np.concatenate([no_hashes(), *(block.ids for block in found)]),
        np.concatenate([no_hashes(), *(block.contents for block in found)]),
    )


def compare(expected: Keys, found: Keys) -> Difference:
    """How what is found differs from what is expected.

    An id that is expected several times, with several contents, may be found with any of them.
    """
    wanted, held = np.unique(expected.ids), np.unique(found.ids)
    other = ~np.isin(found.pairs(), expected.pairs())
    return Difference(
        missing=np.setdiff1d(wanted, held, assume_unique=True),
        foreign=np.setdiff1d(held, wanted, assume_unique=True),
        changed=np.intersect1d(found.ids[other], wanted),
        repeats=len(found.ids) - len(held),
    )
