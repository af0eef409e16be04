"""The bytes of a source file as blocks, decompressed where need be, in bounded memory."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from functools import partial

import pyarrow as pa

from embed_job.source import Compression, SourceFile
from embed_job.storage import ByteStream, Store

BLOCK_BYTES = 1 << 20
COMPRESSED_BLOCK_BYTES = 64 << 10
ZSTD_BYTES = 4 << 10
"""What is fed to zstd at a time. Where it meets damage, what came out of the same piece is lost,
and up to 64 KiB before it; gzip keeps every byte before the damage."""

MAX_EXPANSION_BYTES = 1 << 30
MAX_EXPANSION_RATIO = 200
"""A compressed file may always grow to MAX_EXPANSION_BYTES, and beyond to MAX_EXPANSION_RATIO
times its stored size. Text compresses 3 to 20 times; gzip's bound is 1,032 times."""


class Damaged(Exception):  # noqa: N818 - a finding, told as a rejection
    """The source can't be read from here on; the message says why."""


def max_expanded_bytes(stored_bytes: int) -> int:
    """Above this a compressed file counts as a decompression bomb."""
    return max(MAX_EXPANSION_BYTES, MAX_EXPANSION_RATIO * stored_bytes)


def read_range(
    store: Store,
    key: str,
    start: int,
    end: int | None,
    *,
    etag: str | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> Iterator[bytes]:
    """Bytes [start, end) as stored, block by block. Nothing is opened before the first block."""
    stream = store.open_range(key, start, end, etag=etag)
    try:
        while block := stream.read(block_bytes):
            yield block
    finally:
        stream.close()


def read_split(
    store: Store, file: SourceFile, start: int, end: int, *, block_bytes: int = BLOCK_BYTES
) -> Iterator[bytes]:
    """Bytes of an uncompressed file from start on: to end in one request, and what follows, for a
    record that reaches beyond, in a second one that is only made when it is asked for."""
    stored = partial(read_range, store, file.key, etag=file.etag, block_bytes=block_bytes)
    yield from stored(start, end)
    beyond = min(block_bytes, COMPRESSED_BLOCK_BYTES)
    at = end
    while at < file.size:
        # Doubling requests: a short record costs 64 KiB, a long one few round trips.
        until = min(file.size, at + beyond)
        yield from stored(at, until)
        at, beyond = until, beyond * 2


def read_whole(
    store: Store, file: SourceFile, *, block_bytes: int = BLOCK_BYTES
) -> Iterator[bytes]:
    """The whole content of a file, decompressed. :class:`Damaged` where it is cut short, corrupt
    or a decompression bomb, after everything before that was yielded."""
    if file.compression is Compression.NONE:
        whole = read_range(store, file.key, 0, None, etag=file.etag, block_bytes=block_bytes)
        yield from whole
        return
    limit = max_expanded_bytes(file.size)
    total = 0
    stream = store.open_range(file.key, etag=file.etag)
    try:
        inflate = _gunzip if file.compression is Compression.GZIP else _unzstd
        for block in inflate(stream, block_bytes):
            total += len(block)
            if total > limit:
                raise Damaged(
                    f"decompression bomb: {file.size} bytes expand beyond {limit}, over "
                    f"{limit // max(1, file.size)}:1"
                )
            yield block
    finally:
        stream.close()


def _gunzip(stream: ByteStream, block_bytes: int) -> Iterator[bytes]:
    """Members one after the other, zero padding between them tolerated, as gzip does."""
    member, begun, data = zlib.decompressobj(31), False, b""
    while True:
        data = data or stream.read(COMPRESSED_BLOCK_BYTES)
        at_end = not data
        if not begun:
            data = data.lstrip(b"\0")
            if not data:
                if at_end:
                    return
                continue
        begun = True
        try:
            block = member.decompress(data, block_bytes)
        except zlib.error as error:
            raise Damaged(f"corrupt gzip: {error}") from error
        if block:
            yield block
        elif at_end and not member.eof:
            raise Damaged("gzip cut short: the file ends inside the compressed data")
        data = member.unconsumed_tail
        if member.eof:
            member, begun, data = zlib.decompressobj(31), False, member.unused_data


def _unzstd(stream: ByteStream, block_bytes: int) -> Iterator[bytes]:
    wanted = min(block_bytes, COMPRESSED_BLOCK_BYTES)
    with pa.PythonFile(_Raw(stream), mode="r") as raw:
        inflated = pa.CompressedInputStream(raw, "zstd")
        while True:
            try:
                block = inflated.read(wanted)
            except (pa.ArrowException, OSError) as error:
                if not is_damage(error):
                    raise
                raise Damaged(f"zstd cut short or corrupt: {error}") from error
            if not block:
                return
            yield block


def is_damage(error: BaseException) -> bool:
    """Whether an error that came out of pyarrow speaks of the data: those of the system carry
    an errno, those of a store their own class."""
    return isinstance(error, pa.ArrowException) or (type(error) is OSError and error.errno is None)


class _Raw(io.RawIOBase):
    """A ByteStream as pyarrow takes it, in pieces of ZSTD_BYTES."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._held = io.BytesIO()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        wanted = ZSTD_BYTES if size < 0 else min(size, ZSTD_BYTES)
        piece = self._held.read(wanted)
        if not piece:
            self._held = io.BytesIO(self._stream.read(COMPRESSED_BLOCK_BYTES))
            piece = self._held.read(wanted)
        return piece
