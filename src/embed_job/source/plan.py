"""Cut the input into splits: a pure function of the files, the same on every host."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from embed_job.source import Compression, Format, SourceFile, Split
from embed_job.source.blocks import Damaged, read_whole
from embed_job.source.csv_rows import cut_rows, delimiter_of, take_header
from embed_job.source.parquet_rows import open_parquet
from embed_job.spec import InputSpec
from embed_job.storage import Store

MIB = 1 << 20
MIN_SPLIT_BYTES = 32 << 10
MAX_SPLIT_BYTES = 16 * MIB
SPLITS_PER_SMALL_FILE = 16
"""A file smaller than 256 MiB is cut into this many, so that a 2 MB sample keeps 8 workers busy to
the end: with one split each, they would wait for the slowest."""
MAX_BUNDLE_FILES = 10_000
BUNDLE_CUTS = 4
"""Bundles end by a file's hash every 1/BUNDLE_CUTS of a split's size on average; one in e^4 grows
to the full size and is cut there."""


def plan_splits(store: Store, files: Sequence[SourceFile], spec: InputSpec) -> list[Split]:
    """The splits of all files in their order, then the bundles of text files.

    An empty file has none. A damaged Parquet or CSV header becomes one split, which its reader
    answers with one rejection.
    """
    splits: list[Split] = []
    texts: list[SourceFile] = []
    for file in files:
        if not file.size:
            continue
        if file.format is Format.TEXT:
            texts.append(file)
        else:
            splits.extend(_cut(store, file, spec))
    return splits + list(_bundles(texts, spec))


def split_bytes(total_bytes: int, spec: InputSpec) -> int:
    """The size that splits of a file of total_bytes are given."""
    if spec.split_mib is not None:
        return max(1, round(spec.split_mib * MIB))
    return max(MIN_SPLIT_BYTES, min(MAX_SPLIT_BYTES, -(-total_bytes // SPLITS_PER_SMALL_FILE)))


def _cut(store: Store, file: SourceFile, spec: InputSpec) -> Iterator[Split]:
    if file.format is Format.PARQUET:
        yield from _row_groups(store, file, spec)
        return
    size = split_bytes(file.size, spec)
    if file.compression is not Compression.NONE or file.size <= size:
        bounds = []
    elif file.format is Format.JSONL:
        bounds = list(range(size, file.size, size))
    else:
        bounds = list(_row_starts(store, file, size, spec.max_document_mib * MIB))
    for start, end in zip([0, *bounds], [*bounds, file.size], strict=True):
        yield Split((file,), start, end, end - start)


def _row_starts(store: Store, file: SourceFile, size: int, max_bytes: int) -> Iterator[int]:
    """Where the first row at or after each multiple of size begins, by one scan of the file.

    The header and the first row stay together, so every split but the first begins at a row.
    """
    delimiter = delimiter_of(file)
    cuts = cut_rows(read_whole(store, file), delimiter=delimiter, max_bytes=max_bytes)
    try:
        take_header(cuts, delimiter)
    except Damaged:
        return
    next(cuts, None)
    due = size
    for offset, _ in cuts:
        if offset >= due:
            yield offset
            due = (offset // size + 1) * size


def _row_groups(store: Store, file: SourceFile, spec: InputSpec) -> Iterator[Split]:
    """Consecutive row groups, measured by total_byte_size: encoded but not compressed, which is
    nearer to the text in them than their stored size."""
    try:
        with open_parquet(store, file) as parquet:
            groups = [parquet.metadata.row_group(i) for i in range(parquet.num_row_groups)]
    except Damaged:
        yield Split((file,), 0, 1, file.size)
        return
    size = split_bytes(sum(group.total_byte_size for group in groups), spec)
    start = held = stored = 0
    for index, group in enumerate(groups):
        if index > start and held + group.total_byte_size > size:
            yield Split((file,), start, index, stored)
            start, held, stored = index, 0, 0
        held += group.total_byte_size
        stored += sum(group.column(i).total_compressed_size for i in range(group.num_columns))
    if groups:
        yield Split((file,), start, len(groups), stored)


def _bundles(files: Sequence[SourceFile], spec: InputSpec) -> Iterator[Split]:
    """Whole text files, up to a split's size together. Where a bundle ends mostly follows from
    the hash of its last file's name, so that a file more or less changes its own bundle only."""
    total = sum(file.size for file in files)
    # A power of two, so that a little more text seldom moves all the bounds.
    size = split_bytes(total, spec)
    size = size if spec.split_mib is not None else 1 << (size.bit_length() - 1)
    held: list[SourceFile] = []
    held_bytes = 0
    for file in files:
        if held and (held_bytes + file.size > size or len(held) == MAX_BUNDLE_FILES):
            yield Split(tuple(held), 0, len(held), held_bytes)
            held, held_bytes = [], 0
        held.append(file)
        held_bytes += file.size
        if _ends_bundle(file, size):
            yield Split(tuple(held), 0, len(held), held_bytes)
            held, held_bytes = [], 0
    if held:
        yield Split(tuple(held), 0, len(held), held_bytes)


def _ends_bundle(file: SourceFile, size: int) -> bool:
    """True for a share of the files that grows with their size, and for one in 2,500 at least."""
    draw = int.from_bytes(hashlib.sha256(file.name.encode()).digest()[:8]) / 2**64
    return draw < max(BUNDLE_CUTS * file.size / size, BUNDLE_CUTS / MAX_BUNDLE_FILES)
