"""Whether what is planned covers the input: every listed file that holds bytes, and once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np

from embed_job.ids import Hashes, hash_ids
from embed_job.manifest import SplitManifest
from embed_job.source import Format
from embed_job.source.listing import ListedFile, kind_of

_MAX_NAMED = 3
_BATCH = 1 << 16


def uncovered(
    listed: Iterable[ListedFile],
    manifests: Iterable[SplitManifest],
    *,
    without_splits: Iterable[str],
) -> Iterator[str]:
    """What is wrong, a sentence each: files that no split holds, or more than one does.

    manifests: of all splits that are to count. without_splits: files known to hold nothing.
    Memory: 8 bytes a file, and the files that are cut into several splits.
    """
    whole, ranges = _covered(manifests)
    empty = frozenset(without_splits)
    doubled = len(whole) - len(np.unique(whole)) + sum(map(_overlap, ranges.values()))
    doubled += int(np.isin(hash_ids(f"{name}\0{version}" for name, version in ranges), whole).sum())
    if doubled:
        yield (
            f"{doubled} files are in more than one split: two jobs were at work on this output; "
            "submit again when none is running"
        )
    missing = 0
    named: list[str] = []
    for batch in _batched(file for file in listed if file[1] and file[0] not in empty):
        held = np.isin(hash_ids(f"{name}\0{version}" for name, _, version in batch), whole)
        for (name, size, version), is_held in zip(batch, held, strict=True):
            if not is_held and not _tiled(name, size, ranges.get((name, version), [])):
                missing += 1
                if len(named) < _MAX_NAMED:
                    named.append(name)
    if missing:
        yield (
            f"{missing:,} files of the listing are in no committed split, such as "
            f"{', '.join(named)}: submit the job again, it goes on from here"
        )


Ranges = dict[tuple[str, str], list[tuple[int, int]]]


def _covered(manifests: Iterable[SplitManifest]) -> tuple[Hashes, Ranges]:
    """Files held whole, as sorted hashes, and the ranges of those that are cut."""
    whole: list[Hashes] = [np.empty(0, np.uint64)]
    ranges: defaultdict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for manifest in manifests:
        source = manifest.source
        if len(source.files) > 1 or _is_text(source.files[0][0]):
            whole.append(hash_ids(f"{name}\0{version}" for name, version in source.files))
        else:
            ranges[source.files[0]].append((source.start, source.end))
    return np.sort(np.concatenate(whole)), dict(ranges)


def _is_text(name: str) -> bool:
    kind = kind_of(name)
    return kind is not None and kind[0] is Format.TEXT


def _overlap(ranges: list[tuple[int, int]]) -> bool:
    ordered = sorted(ranges)
    return any(first[1] > second[0] for first, second in pairwise(ordered))


def _tiled(name: str, size: int, ranges: list[tuple[int, int]]) -> bool:
    """Whether ranges follow on each other from the file's beginning to its end; for Parquet,
    whose row groups a listing does not know, to wherever the last one ends."""
    if not ranges:
        return False
    ordered = sorted(ranges)
    gapless = all(a[1] == b[0] for a, b in pairwise(ordered))
    kind = kind_of(name)
    to_the_end = ordered[-1][1] == size or (kind is not None and kind[0] is Format.PARQUET)
    return ordered[0][0] == 0 and gapless and to_the_end


def _batched(listed: Iterable[ListedFile]) -> Iterator[list[ListedFile]]:
    batch: list[ListedFile] = []
    for file in listed:
        batch.append(file)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
