"""What is in the documents, from a bounded sample: how many there are, and how many tokens."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from typing import TYPE_CHECKING, Any, cast

from embed_job.errors import InputError
from embed_job.records import Document
from embed_job.source import Compression, Format, SourceFile, Split
from embed_job.source.blocks import Damaged, read_whole
from embed_job.source.metadata import ConcreteType, resolve_metadata
from embed_job.source.parquet_rows import open_parquet
from embed_job.source.reader import SplitReader
from embed_job.spec import JobSpec
from embed_job.storage import ByteStream, Store
from launcher.planning.listing import ListingFacts, name_of_kind

if TYPE_CHECKING:
    from embed_job.chunk.chunker import Chunker

MAX_FILES = 32
PIECE_BYTES = 128 << 10
PIECE_DOCUMENTS = 200
BLOCK_BYTES = 64 << 10
MAX_EXPANDED_BYTES = 32 << 20
PARALLEL_READS = 8


@dataclass(frozen=True, slots=True)
class Contents:
    """The whole input, estimated. None: unknown. tokens: special tokens included.

    sampled: documents that were read, of so many files. text_bytes: of what is embedded.
    """

    documents: int | None
    chunks: int | None
    tokens: int | None
    text_bytes: int | None
    sampled: int
    sampled_files: int
    refused: int


@dataclass(frozen=True, slots=True)
class Look:
    """A sample read: the estimate, and the types of the metadata columns."""

    contents: Contents
    columns: dict[str, ConcreteType]


@dataclass(slots=True)
class _Piece:
    """What was read of one file. bytes: stored bytes that the records stand for."""

    file: SourceFile
    records: int = 0
    bytes: float = 0
    documents: list[Document] = field(default_factory=list)


def look_into(
    store: Store, facts: ListingFacts, spec: JobSpec, *, chunker: Chunker | None, seed: int = 0
) -> Look:
    """Read at most 32 pieces of 128 KiB of the files that the listing has drawn.

    chunker: counts tokens and chunks; None where the model is not at hand: they are unknown then.
    Raises InputError where a file can't be read, or lacks the fields that the spec names.
    """
    rng = random.Random(seed)  # noqa: S311 - a sample, no secret
    try:
        splits = [_piece_of(store, file, rng) for file in _spread(facts.drawn)]
        columns = resolve_metadata(store, splits, spec.input)
        with ThreadPoolExecutor(PARALLEL_READS) as pool:
            pieces = list(pool.map(lambda split: _read(store, split, spec, columns), splits))
    except (FileNotFoundError, PermissionError) as error:
        raise InputError(
            spec.input.uri,
            f"its objects can't be read ({error})",
            "Grant s3:GetObject on them to whoever plans.",
        ) from error
    return Look(_estimate(facts, pieces, spec, chunker), columns)


def _spread(drawn: Sequence[SourceFile]) -> list[SourceFile]:
    """At most MAX_FILES, from all kinds alike."""
    by_kind: dict[str, list[SourceFile]] = {}
    for file in drawn:
        by_kind.setdefault(_kind(file), []).append(file)
    turns = zip_longest(*by_kind.values())
    return [file for turn in turns for file in turn if file is not None][:MAX_FILES]


def _kind(file: SourceFile) -> str:
    return name_of_kind((file.format, file.compression))


def _piece_of(store: Store, file: SourceFile, rng: random.Random) -> Split:
    """JSONL: anywhere in the file. CSV: its beginning, for rows can't be found elsewhere. Parquet:
    any row group. Others: the file, of which no more is read than is wanted."""
    if file.format is Format.PARQUET:
        try:
            with open_parquet(store, file) as parquet:
                group = rng.randrange(max(1, parquet.num_row_groups))
        except Damaged:
            group = 0
        return Split((file,), group, group + 1, file.size)
    if file.format is Format.TEXT:
        return Split((file,), 0, 1, file.size)
    if file.compression is not Compression.NONE:
        return Split((file,), 0, file.size, file.size)
    start = 0
    if file.format is Format.JSONL and file.size > PIECE_BYTES:
        start = rng.randrange(file.size - PIECE_BYTES)
    end = min(file.size, start + PIECE_BYTES)
    return Split((file,), start, end, end - start)


def _read(store: Store, split: Split, spec: JobSpec, columns: dict[str, ConcreteType]) -> _Piece:
    piece = _Piece(split.files[0])
    reader = SplitReader(store, split, spec.input, columns, block_bytes=BLOCK_BYTES)
    records = iter(reader)
    for record in islice(records, PIECE_DOCUMENTS):
        piece.records += 1
        if isinstance(record, Document):
            piece.documents.append(record)
    complete = next(records, None) is None
    piece.bytes = _stood_for(store, split, piece, complete=complete)
    return piece


def _stood_for(store: Store, split: Split, piece: _Piece, *, complete: bool) -> float:
    """Stored bytes that a piece's records stand for."""
    file = piece.file
    if file.format is Format.PARQUET:
        try:
            with open_parquet(store, file) as parquet:
                rows = parquet.metadata.num_rows
        except Damaged:
            return file.size
        return file.size * piece.records / max(1, int(rows))
    last = piece.documents[-1] if piece.documents else None
    whole = complete or file.format is Format.TEXT
    if whole or last is None or last.byte_offset is None or last.length is None:
        return split.bytes
    read = last.byte_offset + last.length - split.start
    if file.compression is Compression.NONE:
        return read
    return read / _expansion(store, file)


def _expansion(store: Store, file: SourceFile) -> float:
    """Bytes that a stored byte becomes, found at the file's beginning."""
    metered = _Metered(store)
    produced = before = 0
    ratio = 1.0
    try:
        for block in read_whole(cast(Store, metered), file, block_bytes=BLOCK_BYTES):
            if metered.bytes > before:
                # What came out before this read is what the bytes until then became.
                ratio = produced / before if before else ratio
                before = metered.bytes
            produced += len(block)
            if produced >= MAX_EXPANDED_BYTES or before >= PIECE_BYTES:
                break
        else:
            return produced / max(1, file.size)
    except Damaged:
        pass  # a run over the input tells of it
    return ratio if ratio > 1 else max(1.0, produced / max(1, before))


class _Metered:
    """A store that counts the bytes that were taken of its streams."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.bytes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def open_range(
        self, key: str, start: int = 0, end: int | None = None, *, etag: str | None = None
    ) -> ByteStream:
        return _MeteredStream(self._store.open_range(key, start, end, etag=etag), self)


class _MeteredStream:
    def __init__(self, stream: ByteStream, meter: _Metered) -> None:
        self._stream = stream
        self._meter = meter

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        self._meter.bytes += len(data)
        return data

    def close(self) -> None:
        self._stream.close()


def _estimate(
    facts: ListingFacts, pieces: Sequence[_Piece], spec: JobSpec, chunker: Chunker | None
) -> Contents:
    """Each kind of file is scaled by its own bytes, text files by their count as well."""
    documents = chunks = tokens = text_bytes = 0.0
    known = True
    for kind in facts.kinds:
        if not kind.bytes:
            continue
        of_kind = [piece for piece in pieces if _kind(piece.file) == kind.name]
        seen = sum(piece.bytes for piece in of_kind)
        if not seen or not any(piece.records for piece in of_kind):
            known = False  # unreadable, or records longer than a piece
            continue
        scale = kind.bytes / seen
        found = [document for piece in of_kind for document in piece.documents]
        counted = kind.files if kind.name.startswith(Format.TEXT.value) else len(found) * scale
        documents += counted
        text_bytes += scale * sum(len(document.text.encode()) for document in found)
        if chunker is not None:
            for size, ids in _counts(chunker, found, spec):
                chunks += size * scale
                tokens += ids * scale
    whole = known or not facts.bytes
    return Contents(
        documents=round(documents) if whole else None,
        chunks=round(chunks) if whole and chunker else None,
        tokens=round(tokens) if whole and chunker else None,
        text_bytes=round(text_bytes) if whole else None,
        sampled=sum(len(piece.documents) for piece in pieces),
        sampled_files=len(pieces),
        refused=sum(piece.records - len(piece.documents) for piece in pieces),
    )


def _counts(
    chunker: Chunker, documents: Sequence[Document], spec: JobSpec
) -> Iterator[tuple[int, int]]:
    """Chunks and tokens of each window."""
    window_bytes = int(spec.execution.window_mib * (1 << 20))
    for window in chunker.iter_windows(documents, window_bytes=window_bytes):
        yield len(window.chunks), len(window.tokens.ids)
