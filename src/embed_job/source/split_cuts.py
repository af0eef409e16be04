"""The records of one split of JSONL or CSV, cut but not parsed."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from embed_job.source import Compression, Format, SourceFile, Split
from embed_job.source.blocks import BLOCK_BYTES, read_split, read_whole
from embed_job.source.csv_rows import cut_rows, delimiter_of
from embed_job.source.cutter import Cut, cut_lines, lines_from
from embed_job.storage import Store


def split_cuts(
    store: Store, split: Split, *, max_bytes: int, block_bytes: int = BLOCK_BYTES
) -> Iterator[Cut]:
    """The records that begin in the split; offsets are those of the decompressed file. The first
    split of a CSV file begins with its header. Raises :class:`embed_job.source.blocks.Damaged`."""
    file = split.files[0]
    start, end = split_range(split)
    if file.format is not Format.JSONL:
        delimiter = delimiter_of(file)
        blocks = _blocks(store, file, start, end, block_bytes)
        return cut_rows(blocks, delimiter=delimiter, offset=start, end=end, max_bytes=max_bytes)
    if start == 0:
        blocks = _blocks(store, file, 0, end, block_bytes)
        return cut_lines(blocks, end=end, max_bytes=max_bytes)
    # The line at start is this split's only if the byte before ends another.
    first, blocks = lines_from(_blocks(store, file, start - 1, end, block_bytes), start - 1)
    return cut_lines(blocks, offset=first, end=end, max_bytes=max_bytes)


def split_range(split: Split) -> tuple[int, int]:
    """Where the split's records begin: bytes of the file, decompressed where it is."""
    if split.files[0].compression is Compression.NONE:
        return split.start, split.end
    return 0, sys.maxsize


def _blocks(
    store: Store, file: SourceFile, start: int, end: int, block_bytes: int
) -> Iterator[bytes]:
    if file.compression is Compression.NONE:
        return read_split(store, file, start, end, block_bytes=block_bytes)
    return read_whole(store, file, block_bytes=block_bytes)
