"""The id files of committed splits: read ahead, and handed out by ranges of hashes to files.

What compares the ids of a whole job holds one range at a time, whatever the job.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from embed_job.ids import Hashes
from embed_job.manifest import SplitManifest
from embed_job.storage import Store, join
from embed_job.storage.read_ahead import read_ahead

HASHES_IN_MEMORY = 1 << 22
"""Hashes that are sorted at a time: 32 MiB, and as much again for the sort."""

_HASHES_GATHERED = 1 << 20
"""Hashes that are handed out to the ranges at a time: 8 MiB. A billion ids have 239 ranges; each
split's few thousand alone would open every range's file for some bytes."""


def ids_of(store: Store, folder: str, manifest: SplitManifest) -> Hashes:
    """The sorted hashes of one split's ids, each once for each of its files that holds it."""
    if manifest.ids is None:
        return np.empty(0, dtype=np.uint64)
    return _decoded(store.read(join(folder, manifest.ids)))


def _decoded(data: bytes) -> Hashes:
    hashes: Hashes = np.load(io.BytesIO(data), allow_pickle=False)
    return hashes


def all_ids(store: Store, folder: str, manifests: Iterable[SplitManifest]) -> Iterator[Hashes]:
    """The hashes of split after split; as many as are read at a time are held.

    Threads read and this one decodes: numpy parses an array's header as Python, and in CPython
    3.11 a parse that another thread's parse interrupts can raise SystemError: they share one
    count of the depth (python/cpython#106905).
    """
    names = (manifest.ids for manifest in manifests if manifest.ids is not None)
    for _, data in read_ahead(lambda name: store.read(join(folder, name)), names):
        yield _decoded(data)


def _gathered(arrays: Iterable[Hashes]) -> Iterator[Hashes]:
    """The same hashes in fewer arrays, each sorted."""
    held: list[Hashes] = []
    count = 0
    for array in arrays:
        held.append(array)
        count += len(array)
        if count >= _HASHES_GATHERED:
            yield np.sort(np.concatenate(held))
            held, count = [], 0
    if held:
        yield np.sort(np.concatenate(held))


def ranges_for(hashes: int, *, in_memory: int = HASHES_IN_MEMORY) -> int:
    """How many ranges so many hashes are cut into, so that one of them fits in memory."""
    return max(1, -(-hashes // in_memory))


def partition(scratch: Path, ranges: int, arrays: Iterable[Hashes]) -> None:
    """Append each array's slice of every hash range to that range's file, named by its number."""
    scratch.mkdir(exist_ok=True)
    bounds = np.array([(i << 64) // ranges for i in range(1, ranges)], dtype=np.uint64)
    for array in _gathered(arrays):
        for number, part in enumerate(np.split(array, np.searchsorted(array, bounds))):
            if len(part):
                with (scratch / f"{number:08}").open("ab") as stream:
                    stream.write(part.data)  # tofile drops the errno of a full disk
