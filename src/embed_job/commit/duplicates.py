"""Ids in more than one file or split, found in bounded memory from the splits' id files."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from embed_job.commit.id_hashes import (
    HASHES_IN_MEMORY,
    all_ids,
    ids_of,
    partition,
    ranges_for,
)
from embed_job.ids import Hashes, hash_ids
from embed_job.manifest import SplitManifest
from embed_job.storage import Store, join

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
    hashes_in_memory: int = HASHES_IN_MEMORY,
) -> Duplicates:
    """Compare the ids of all splits. Memory: hashes_in_memory × 16 bytes, whatever the job."""
    documents = sum(manifest.counts.documents.written for manifest in manifests)
    ranges = ranges_for(documents, in_memory=hashes_in_memory)
    with tempfile.TemporaryDirectory(prefix="embed-job-ids-") as scratch:
        partition(Path(scratch), ranges, all_ids(store, folder, manifests))
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
    return _repeated(ids_of(store, folder, manifest))


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
        if np.isin(wanted, ids_of(store, folder, manifest)).any():
            for doc_id in doc_ids_of(store, folder, manifest):
                if np.isin(hash_ids([doc_id]), wanted)[0]:
                    holders[doc_id].append(manifest.split)
    return [
        Duplicate(doc_id, tuple(splits))
        for doc_id, splits in sorted(holders.items())
        if len(splits) > 1
    ]


def doc_ids_of(store: Store, folder: str, manifest: SplitManifest) -> Iterator[str]:
    """The ids of a split's documents, as its parts hold them."""
    for part in manifest.parts:
        with store.open_seekable(join(folder, part.name)) as stream:
            file = pq.ParquetFile(stream)
            for batch in file.iter_batches(columns=["doc_id", "chunk"]):
                first = pc.equal(batch.column("chunk"), 0)
                yield from batch.column("doc_id").filter(first).to_pylist()
