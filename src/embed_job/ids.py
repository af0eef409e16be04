"""Which ids a split has seen, file by file: 8 bytes an id, whatever its length.

Ids are compared by 64-bit hashes. Two of 100,000 ids of a split collide with a probability of
3e-10; across splits a collision is only a candidate, settled by the ids themselves.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]


def hash_ids(doc_ids: Iterable[str]) -> Hashes:
    """64-bit hashes of ids, in their order."""
    return np.frombuffer(
        b"".join([blake2b(doc_id.encode(), digest_size=8).digest() for doc_id in doc_ids]),
        dtype=np.uint64,
    )


class SeenIds:
    """A growing set of hashes, kept as few sorted arrays (each at least twice the next).

    Where another file begins, the set begins anew; what the files before held is kept aside.
    """

    def __init__(self) -> None:
        self._levels: list[Hashes] = []
        self._before = array("Q")

    def add(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """Take a block; True where a hash was seen before, in this block or an earlier one."""
        distinct, first = np.unique(hashes, return_index=True)
        repeated = np.ones(len(hashes), dtype=np.bool_)
        known = np.zeros(len(distinct), dtype=np.bool_)
        for level in self._levels:
            place = np.minimum(np.searchsorted(level, distinct), len(level) - 1)
            known |= level[place] == distinct
        repeated[first] = known
        self._push(distinct[~known])
        return repeated

    def _push(self, new: Hashes) -> None:
        while self._levels and len(self._levels[-1]) <= 2 * len(new):
            new = np.sort(np.concatenate([self._levels.pop(), new]))
        if len(new):
            self._levels.append(new)

    def begin_file(self) -> None:
        """From here on nothing counts as seen before."""
        for level in self._levels:
            self._before.frombytes(level.tobytes())
        self._levels = []

    def sorted(self) -> Hashes:
        """Every hash once for each file that holds it, ascending."""
        before = np.array(self._before, dtype=np.uint64)
        return np.sort(np.concatenate([before, *self._levels]))


def without(hashes: Hashes, refused: Hashes) -> Hashes:
    """Ascending hashes less the refused ones, which are all among them: each as often as it is
    refused."""
    distinct, counts = np.unique(refused, return_counts=True)
    first = np.searchsorted(hashes, distinct)
    gone = [np.arange(at, at + count) for at, count in zip(first, counts, strict=True)]
    return np.delete(hashes, np.concatenate([np.empty(0, np.intp), *gone]))


def superseded(hashes: Hashes) -> npt.NDArray[np.bool_]:
    """True where a later element has the same hash: what "last wins" leaves out."""
    reverse_first = np.unique(hashes[::-1], return_index=True)[1]
    lost = np.ones(len(hashes), dtype=np.bool_)
    lost[len(hashes) - 1 - reverse_first] = False
    return lost
