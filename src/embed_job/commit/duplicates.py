"""Ids in more than one file or split, found in bounded memory from the splits' id files."""

from __future__ import annotations

import io
import tempfile
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from embed_job.ids import Hashes, hash_ids
from embed_job.manifest import SplitManifest
from embed_job.storage import Store, join

_HASHES_IN_MEMORY = 1 << 22
"""Hashes that are sorted at a time: 32 MiB, and as much again for the sort."""

_HASHES_GATHERED = 1 << 20
"""Hashes that are handed out to the ranges at a time: 8 MiB. A billion ids have 239 ranges; each
split's few thousand alone would open every range's file for some bytes."""

_PARALLEL_READS = 16
"""A file of ids is small and S3 far away: one after the other, 27,000 of them take a quarter of an
hour."""

_MAX_LISTED = 1000


@dataclass(frozen=True, slots=True)
class Duplicate:
    """An id and the splits that hold it; a bundle once for each of its files that does."""

    doc_id: str
    splits: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Duplicates:
    """count: ids in more than one file or split. listed: the first thousand of them.

    Up to a thousand, each is confirmed by the ids themselves; beyond that the count is of
    64-bit hashes.
    """

    count: int
    listed: tuple[Duplicate, ...]


def find_duplicates(
    store: Store,
    folder: str,
    manifests: Sequence[SplitManifest],
    *,
    hashes_in_memory: int = _HASHES_IN_MEMORY,
) -> Duplicates:
    """Compare the ids of all splits. Memory: hashes_in_memory × 16 bytes, whatever the job."""
    documents = sum(manifest.counts.documents.written for manifest in manifests)
    ranges = max(1, -(-documents // hashes_in_memory))
    with tempfile.TemporaryDirectory(prefix="embed-job-ids-") as scratch:
        _partition(Path(scratch), ranges, _all_ids(store, folder, manifests))
        count = 0
        listed: list[Hashes] = []
        for path in sorted(Path(scratch).iterdir()):
            repeated = _repeated(np.fromfile(path, dtype=np.uint64))
            count += len(repeated)
            if sum(map(len, listed)) <= _MAX_LISTED:
                listed.append(repeated)
    wanted = np.sort(np.concatenate([np.empty(0, np.uint64), *listed]))[:_MAX_LISTED]
    confirmed = _confirm(store, folder, manifests, wanted)
    return Duplicates(count if count > len(wanted) else len(confirmed), tuple(confirmed))


def repeated_in(store: Store, folder: str, manifest: SplitManifest) -> Hashes:
    """Hashes of ids that more than one file of a split holds: none but in a bundle."""
    return _repeated(_ids(store, folder, manifest))


def _ids(store: Store, folder: str, manifest: SplitManifest) -> Hashes:
    if manifest.ids is None:
        return np.empty(0, dtype=np.uint64)
    return _decoded(store.read(join(folder, manifest.ids)))


def _decoded(data: bytes) -> Hashes:
    hashes: Hashes = np.load(io.BytesIO(data), allow_pickle=False)
    return hashes


def _all_ids(store: Store, folder: str, manifests: Iterable[SplitManifest]) -> Iterator[Hashes]:
    """The hashes of split after split; as many as are read at a time are held.

    Threads read and this one decodes: numpy parses an array's header as Python, and in CPython
    3.11 a parse that another thread's parse interrupts can raise SystemError: they share one
    count of the depth (python/cpython#106905).
    """
    waiting: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(_PARALLEL_READS) as pool:
        try:
            for manifest in manifests:
                if manifest.ids is None:
                    continue
                waiting.append(pool.submit(store.read, join(folder, manifest.ids)))
                if len(waiting) == _PARALLEL_READS:
                    yield _decoded(waiting.popleft().result())
            while waiting:
                yield _decoded(waiting.popleft().result())
        finally:
            for future in waiting:
                future.cancel()


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


def _partition(scratch: Path, ranges: int, arrays: Iterable[Hashes]) -> None:
    """Append each array's slice of every hash range to that range's file."""
    bounds = np.array([(i << 64) // ranges for i in range(1, ranges)], dtype=np.uint64)
    for array in _gathered(arrays):
        for number, part in enumerate(np.split(array, np.searchsorted(array, bounds))):
            if len(part):
                with (scratch / f"{number:08}").open("ab") as stream:
                    stream.write(part.data)  # tofile drops the errno of a full disk


def _repeated(hashes: Hashes) -> Hashes:
    ordered = np.sort(hashes)
    return np.unique(ordered[1:][ordered[1:] == ordered[:-1]])


def _confirm(
    store: Store, folder: str, manifests: Sequence[SplitManifest], wanted: Hashes
) -> list[Duplicate]:
    """The ids behind hashes, where two files or splits really hold the same one."""
    if not len(wanted):
        return []
    holders: defaultdict[str, list[str]] = defaultdict(list)
    for manifest in manifests:
        if np.isin(wanted, _ids(store, folder, manifest)).any():
            for doc_id in _doc_ids(store, folder, manifest):
                if np.isin(hash_ids([doc_id]), wanted)[0]:
                    holders[doc_id].append(manifest.split)
    return [
        Duplicate(doc_id, tuple(splits))
        for doc_id, splits in sorted(holders.items())
        if len(splits) > 1
    ]


def _doc_ids(store: Store, folder: str, manifest: SplitManifest) -> Iterator[str]:
    for part in manifest.parts:
        with store.open_seekable(join(folder, part.name)) as stream:
            file = pq.ParquetFile(stream)
            for batch in file.iter_batches(columns=["doc_id", "chunk"]):
                first = pc.equal(batch.column("chunk"), 0)
                yield from batch.column("doc_id").filter(first).to_pylist()
