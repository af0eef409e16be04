"""Read one split: each record becomes a document or a rejection, none is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from embed_job.errors import InputError
from embed_job.records import Document, Reason, Rejection, Stage
from embed_job.source import Compression, Format, SourceFile, Split, version_of_etag
from embed_job.source.blocks import BLOCK_BYTES, Damaged, read_whole
from embed_job.source.column_types import ConcreteType
from embed_job.source.csv_rows import (
    count_breaks,
    delimiter_of,
    read_header,
    take_header,
)
from embed_job.source.cutter import BOM, Cut, Fault, too_large_detail
from embed_job.source.json_lines import not_utf8, parse_json
from embed_job.source.parquet_rows import open_parquet, read_rows
from embed_job.source.record import Assembler, Refused, excerpt
from embed_job.source.split_cuts import split_cuts, split_range
from embed_job.spec import InputSpec
from embed_job.storage import Store


class SplitReader:
    """The documents and rejections of a split, in order, read as they are consumed, once.

    Memory: a few blocks, and a few times max_document_mib where such a document is met.
    Raises InputError where the file vanished or is another than the one that was planned (by
    its size, and its ETag where the store keeps one; a local edit that keeps the size is not
    seen here).

    After exhaustion: lines, the physical lines that begin in the split (0 for Parquet and text
    files), and absent_fields, per field of the spec the documents that lack it.
    """

    def __init__(
        self,
        store: Store,
        split: Split,
        spec: InputSpec,
        metadata: Mapping[str, ConcreteType],
        *,
        block_bytes: int = BLOCK_BYTES,
    ) -> None:
        self.lines = 0
        self._ordinal = 0
        self._store = store
        self._split = split
        self._max_bytes = spec.max_document_mib << 20
        self._block_bytes = block_bytes
        self._assembler = Assembler(spec, metadata)

    @property
    def absent_fields(self) -> dict[str, int]:
        return self._assembler.absent_fields

    def __iter__(self) -> Iterator[Document | Rejection]:
        readers = {
            Format.JSONL: self._jsonl,
            Format.CSV: self._csv,
            Format.TSV: self._csv,
            Format.PARQUET: self._parquet,
            Format.TEXT: self._text,
        }
        for piece in self._split.pieces:
            file = piece.files[0]
            try:
                yield from readers[file.format](piece)
            except FileNotFoundError as error:
                raise _changed(file, "it is gone") from error

    def _jsonl(self, piece: Split) -> Iterator[Document | Rejection]:
        self._check_version(piece.files[0])
        return self._documents(piece, self._cuts(piece), parse_json, skip=bytes.isspace)

    def _csv(self, piece: Split) -> Iterator[Document | Rejection]:
        file, lines = piece.files[0], 0
        self._check_version(file)
        cuts, delimiter = self._cuts(piece), delimiter_of(file)
        try:
            if split_range(piece)[0] == 0:
                header = take_header(cuts, delimiter)
                lines = header.lines
            else:
                header = read_header(self._store, file, max_bytes=self._max_bytes)
        except Damaged as why:
            yield _unreadable(why, self._ordinal, file.key, 1, 0)
            self._ordinal += 1
            return
        parse = partial(header.parse, delimiter)
        yield from self._documents(piece, cuts, parse, lines=lines, inner_breaks=count_breaks)

    def _cuts(self, piece: Split) -> Iterator[Cut]:
        return split_cuts(
            self._store, piece, max_bytes=self._max_bytes, block_bytes=self._block_bytes
        )

    def _documents(
        self,
        piece: Split,
        cuts: Iterator[Cut],
        parse: Callable[[bytes], Mapping[str, Any]],
        *,
        lines: int = 0,
        skip: Callable[[bytes], bool] | None = None,
        inner_breaks: Callable[[bytes], int] | None = None,
    ) -> Iterator[Document | Rejection]:
        """lines: those before the first record. Lines and offsets count from the file's, or the
        range's, beginning, ordinals from the split's."""
        assemble, key = self._assembler.assemble, piece.files[0].key
        line, ordinal, offset, length = lines, self._ordinal, piece.start, 0
        item: Document | Rejection
        try:
            for offset, cut in cuts:
                line += 1
                at_line = line
                if isinstance(cut, Fault):
                    length = cut.length
                    why = Refused(cut.reason, f"{cut.detail}: {excerpt(cut.excerpt)}")
                    yield _rejection(why, ordinal, key, line, offset, length)
                    line += cut.lines - 1
                    ordinal += 1
                    continue
                length = len(cut)
                data = cut if offset else cut.removeprefix(BOM)
                if not data or (skip and skip(data)):
                    continue
                if inner_breaks:
                    line += inner_breaks(data)
                try:
                    doc_id, text, metadata = assemble(parse(data))
                    item = Document(ordinal, key, at_line, offset, length, doc_id, text, metadata)
                except Refused as refused:
                    item = _rejection(refused, ordinal, key, at_line, offset, length)
                yield item
                ordinal += 1
        except Damaged as damage:
            yield _unreadable(damage, ordinal, key, line + 1, offset + length)
            ordinal += 1
        finally:
            self.lines += line
            self._ordinal = ordinal

    def _parquet(self, piece: Split) -> Iterator[Document | Rejection]:
        file = piece.files[0]
        self._check_version(file)
        key, ordinal, row = file.key, 0, 0
        try:
            with open_parquet(self._store, file) as parquet:
                start, end = piece.start, piece.end
                for row, record in read_rows(parquet, start, end, self._assembler.names):
                    try:
                        if isinstance(record, Refused):
                            raise record
                        doc_id, text, metadata = self._assembler.assemble(record)
                        if len(text) > self._max_bytes // 4:
                            self._check_size(text, doc_id)
                    except Refused as why:
                        yield _rejection(why, ordinal, key, row, None, None)
                    else:
                        yield Document(ordinal, key, row, None, None, doc_id, text, metadata)
                    ordinal += 1
        except Damaged as why:
            yield _unreadable(why, ordinal, key, row + 1, None)

    def _check_size(self, text: str, doc_id: str) -> None:
        size = len(text.encode())
        if size > self._max_bytes:
            raise Refused(Reason.TOO_LARGE, too_large_detail(size, self._max_bytes), doc_id)

    def _text(self, piece: Split) -> Iterator[Document | Rejection]:
        for ordinal, file in enumerate(piece.files[piece.start : piece.end]):
            yield self._text_file(ordinal, file)

    def _text_file(self, ordinal: int, file: SourceFile) -> Document | Rejection:
        length: int | None = None
        try:
            data = self._content(file)
            length = len(data)
            try:
                text = data.removeprefix(BOM).decode()
            except UnicodeDecodeError as error:
                raise not_utf8(data, error) from error
            record = self._assembler.of_text(file.name, text)
            doc_id, text, metadata = self._assembler.assemble(record)
            return Document(ordinal, file.key, 1, 0, length, doc_id, text, metadata)
        except Refused as why:
            return _rejection(why, ordinal, file.key, 1, 0, length)
        except Damaged as why:
            return _unreadable(why, ordinal, file.key, 1, 0)
        except FileNotFoundError as error:
            raise _changed(file, "it is gone") from error

    def _content(self, file: SourceFile) -> bytes:
        pieces: list[bytes] = []
        size = 0
        for block in read_whole(self._store, file, block_bytes=self._block_bytes):
            size += len(block)
            if size > self._max_bytes:
                detail = too_large_detail(size, self._max_bytes)
                raise Refused(Reason.TOO_LARGE, f"at least {detail}", file.name)
            pieces.append(block)
        if file.compression is Compression.NONE and size != file.size:
            raise _changed(file, f"it had {file.size} bytes and has {size}")
        return b"".join(pieces)

    def _check_version(self, file: SourceFile) -> None:
        now = self._store.stat(file.key)
        if now.size != file.size:
            raise _changed(file, f"it had {file.size} bytes and has {now.size}")
        if now.etag is not None and file.version != version_of_etag(now.etag):
            raise _changed(file, "its ETag is another")


def _rejection(
    why: Refused, ordinal: int, key: str, line: int, offset: int | None, length: int | None
) -> Rejection:
    return Rejection(
        ordinal, key, line, offset, length, why.reason, Stage.READ, why.detail, why.doc_id
    )


def _unreadable(why: Damaged, ordinal: int, key: str, line: int, offset: int | None) -> Rejection:
    reason, stage = Reason.UNREADABLE, Stage.READ
    return Rejection(ordinal, key, line, offset, None, reason, stage, str(why))


def _changed(file: SourceFile, how: str) -> InputError:
    what = f"changed while the run was reading it: {how}"
    return InputError(file.key, what, "Run again; only what changed is embedded anew.")
