"""Where records begin and end: the one cutter that planner, reader and sampler share.

A cutter takes blocks of bytes that begin at a record's first byte and yields ``(offset, data)``:
data is the record without its line break, or a :class:`Fault` in its place. Blank lines come as
empty records. What is yielded follows from the bytes alone, never from the size of the blocks;
and a cutter that starts at a later record yields the same from there on.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from embed_job.records import Reason

EXCERPT_BYTES = 120
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Fault:
    """A record that can't be held or has no end. length: its bytes; lines: those it takes up."""

    length: int
    lines: int
    reason: Reason
    detail: str
    excerpt: bytes


Cut = tuple[int, bytes | Fault]


def too_large_detail(length: int, max_bytes: int) -> str:
    return f"{length} bytes; max_document_mib allows {max_bytes}"


def too_large(length: int, lines: int, max_bytes: int, excerpt: bytes) -> Fault:
    return Fault(length, lines, Reason.TOO_LARGE, too_large_detail(length, max_bytes), excerpt)


def cut_lines(
    blocks: Iterable[bytes], *, offset: int = 0, end: int = sys.maxsize, max_bytes: int
) -> Iterator[Cut]:
    """JSONL: each line that begins before end. Holds a block and max_bytes at most."""
    pieces: list[bytes] = []
    held = 0
    for block in blocks:
        lines = block.split(b"\n")
        if held:
            held += len(lines[0])
            if len(lines) == 1:
                _hold(pieces, block, held, max_bytes)
                continue
            data = _whole(pieces, lines[0], held, max_bytes)
            yield offset, data
            offset += held + 1
            lines[0] = b""
            begun = 1
        else:
            begun = 0
        tail = lines.pop()
        for line in lines[begun:] if begun else lines:
            if offset >= end:
                return
            length = len(line)
            if length > max_bytes:
                yield offset, too_large(length, 1, max_bytes, line[:EXCERPT_BYTES])
            else:
                yield offset, line
            offset += length + 1
        if offset >= end:
            return
        pieces, held = [tail], len(tail)
    if held:
        yield offset, _whole(pieces, b"", held, max_bytes)


def _hold(pieces: list[bytes], block: bytes, held: int, max_bytes: int) -> None:
    """Keep a piece of an unfinished line; of one that is too long, only its excerpt."""
    if held <= max_bytes:
        pieces.append(block)
    elif len(pieces) != 1 or len(pieces[0]) != EXCERPT_BYTES:
        pieces[:] = [b"".join([*pieces, block])[:EXCERPT_BYTES]]


def _whole(pieces: list[bytes], last: bytes, length: int, max_bytes: int) -> bytes | Fault:
    data = b"".join([*pieces, last])
    return data if length <= max_bytes else too_large(length, 1, max_bytes, data[:EXCERPT_BYTES])


def lines_from(blocks: Iterator[bytes], offset: int) -> tuple[int, Iterator[bytes]]:
    """Skip to behind the first line break: where that is, and the blocks from there on."""
    for block in blocks:
        found = block.find(b"\n")
        if found >= 0:
            return offset + found + 1, chain([block[found + 1 :]], blocks)
        offset += len(block)
    return offset, iter(())
