"""Cut the input into splits: a pure function of the files, the same on every host."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from embed_job.source import Compression, Format, SourceFile, Split
from embed_job.source.blocks import Damaged, read_whole
from embed_job.source.bundles import (
    Kind,
    Standing,
    Survey,
    bundle_kind,
    make_bundles,
    survey,
)
from embed_job.source.csv_rows import cut_rows, delimiter_of, take_header
from embed_job.source.parquet_rows import open_parquet
from embed_job.source.sizes import MIB, split_bytes
from embed_job.spec import InputSpec
from embed_job.storage import Store


def plan_splits(
    store: Store,
    files: Sequence[SourceFile],
    spec: InputSpec,
    *,
    standing: Standing | None = None,
    found: Survey | None = None,
) -> list[Split]:
    """The splits of all files in their order, then the bundles of small files.

    An empty file has none. A damaged Parquet or CSV header becomes one split, which its reader
    answers with one rejection. standing: committed bundles, whose files are left out. found: the
    whole input, where `files` is only a host's part of it.
    """
    standing = standing or Standing()
    found = found or survey(((file.name, file.size, file.version) for file in files), ())
    splits: list[Split] = []
    small: defaultdict[Kind, list[SourceFile]] = defaultdict(list)
    for file in files:
        kind = bundle_kind(file.name, file.size)
        if kind is not None and found.bundles(kind):
            small[kind].append(file)
        elif file.size and file.name not in standing.covered:
            splits.extend(_cut(store, file, spec))
    for kind, members in sorted(small.items()):
        splits.extend(
            make_bundles(members, spec, total_bytes=found.bytes[kind], covered=standing.covered)
        )
    return splits


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
