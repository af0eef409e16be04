"""CSV and TSV by the rules of Python's csv module (not strict): where rows end, what they hold.

A quote opens only at the beginning of a field; behind a closing quote everything up to the
delimiter is literal; ``""`` within quotes is a quote; rows end at ``\\n``, ``\\r\\n`` or ``\\r``.
Where the csv module would read on to the end of the file because a quote is never closed, the
line alone is refused and reading goes on at the next one.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

from embed_job.records import Reason
from embed_job.source import Format, SourceFile
from embed_job.source.blocks import Damaged, read_whole
from embed_job.source.cutter import BOM, EXCERPT_BYTES, Cut, Fault, too_large
from embed_job.source.json_lines import not_utf8
from embed_job.source.record import Refused, excerpt
from embed_job.storage import Store

_CR, _LF = b"\r\n"
_MatchRow = Callable[..., re.Match[bytes]]
HEADER_BLOCK_BYTES = 16 << 10
PLAIN_BYTES = 1024
"""Lines without a quote are split all at once where there are this many bytes of them."""


def delimiter_of(file: SourceFile) -> str:
    return "\t" if file.format is Format.TSV else ","


def count_breaks(data: bytes) -> int:
    """Physical line breaks in a part of a CSV file."""
    breaks = data.count(b"\n")
    return breaks + data.count(b"\r") - data.count(b"\r\n") if b"\r" in data else breaks


def cut_rows(
    blocks: Iterable[bytes],
    *,
    delimiter: str,
    offset: int = 0,
    end: int = sys.maxsize,
    max_bytes: int,
) -> Iterator[Cut]:
    """CSV: each row that begins before end; blank lines come as empty records.

    A row of more than max_bytes is a Fault. If a quote stands open at that point, or at the end
    of the file, the row's first line is (MALFORMED), and the next line begins a row; if not, it
    lasts to the next line break (TOO_LARGE). Holds some blocks, or a few times max_bytes.
    """
    window = _Window(iter(blocks), offset)
    match_row = _row_matcher(delimiter.encode())
    data, at, quote, mixed_until = window.data, 0, -1, 0
    while (start := window.base + at) < end:
        quote = quote if quote >= at else _find_quote(data, at)
        if quote - at > PLAIN_BYTES and at >= mixed_until:
            lines, width = _plain_lines(data, at, quote, max_bytes)
            yield from _placed(lines, width, start, end)
            at += sum(map(len, lines)) + width * len(lines)
            # Where the short cut does not lead, it is not tried again at each row.
            mixed_until = quote if width == 0 else 0
            if lines:
                continue
        stop = match_row(data, at).end()
        following = _behind_break(data, stop, ended=window.ended)
        if following < 0 and not window.ended and len(data) - at <= max_bytes + 1:
            window.grow(at)
            data, at, quote, mixed_until = window.data, 0, -1, 0
        elif following < 0 or stop - at > max_bytes:
            fault, at = _pass_over(window, at, max_bytes, match_row)
            data, quote, mixed_until = window.data, -1, 0
            yield start, fault
        elif following > at:
            yield start, data[at:stop]
            at = following
        else:
            return


def _find_quote(data: bytes, at: int) -> int:
    found = data.find(b'"', at)
    return found if found >= 0 else len(data)


def _plain_lines(data: bytes, at: int, quote: int, max_bytes: int) -> tuple[list[bytes], int]:
    """The lines of data[at:quote], which holds no quote, up to the first that is too long, and
    the width of their line break. The short cut for most of most files; ([], 0) where breaks are
    mixed or there is none."""
    last = data.rfind(b"\n", at, quote)
    if last < 0:
        return [], 0
    part = data[at : last + 1]
    line_break = b"\n"
    if b"\r" in part:
        line_break = b"\r\n"
        if not part.count(b"\r\n") == part.count(b"\r") == part.count(b"\n"):
            return [], 0
    lines = part.split(line_break)
    lines.pop()
    if max(map(len, lines)) > max_bytes:
        del lines[next(i for i, line in enumerate(lines) if len(line) > max_bytes) :]
    return lines, len(line_break)


def _placed(lines: list[bytes], width: int, start: int, end: int) -> Iterator[Cut]:
    for line in lines:
        if start >= end:
            return
        yield start, line
        start += len(line) + width


def _next_break(data: bytes, at: int, stop: int) -> int:
    """Where the next CR or LF of data[at:stop] is; stop where there is none."""
    newline = data.find(b"\n", at, stop)
    stop = newline if newline >= 0 else stop
    cr = data.find(b"\r", at, stop)
    return cr if cr >= 0 else stop


def _behind_break(data: bytes, stop: int, *, ended: bool) -> int:
    """Where the next row begins, given where this one's fields end; -1: not known, or a quote
    stands open there."""
    if stop == len(data):
        return stop if ended else -1
    if data[stop] == _LF:
        return stop + 1
    if data[stop] != _CR:
        return -1
    if stop + 1 == len(data):
        return stop + 1 if ended else -1
    return stop + 2 if data[stop + 1] == _LF else stop + 1


class _Window:
    """The part of the file at hand. base: offset of its first byte."""

    def __init__(self, blocks: Iterator[bytes], offset: int) -> None:
        self.data = b""
        self.base = offset
        self.ended = False
        self._blocks = blocks

    def grow(self, at: int) -> None:
        """Drop what lies before at, and double the rest: each byte is scanned about twice."""
        self.base += at
        pieces = [self.data[at:]]
        missing = max(1, len(pieces[0]))
        while missing > 0:
            block = next(self._blocks, b"")
            if not block:
                self.ended = True
                break
            pieces.append(block)
            missing -= len(block)
        self.data = b"".join(pieces)

    def skip_line(self, at: int) -> tuple[int, int]:
        """From index at to the next line break: its offset in the file, the index behind it."""
        while True:
            stop = _next_break(self.data, at, len(self.data))
            following = _behind_break(self.data, stop, ended=self.ended)
            if following >= 0:
                return self.base + stop, following
            self.grow(stop)
            at = 0


def _pass_over(window: _Window, at: int, max_bytes: int, match_row: _MatchRow) -> tuple[Fault, int]:
    """The fault of the row at index at, which is too long or never ends; the index behind it."""
    data, start = window.data, window.base + at
    limit = min(at + max_bytes, len(data))
    head = data[at : min(at + EXCERPT_BYTES, limit)]
    fields_end = match_row(data, at, limit + 1).end()
    quote_is_open = fields_end < min(limit + 1, len(data))
    first_break = _next_break(data, at, limit)
    to_the_end = window.ended and len(data) - at <= max_bytes
    if quote_is_open and (first_break < limit or to_the_end):
        where = "to the end of the file" if to_the_end else f"within {max_bytes} bytes"
        detail = f"a quote is not closed {where}; this line alone is refused"
        following = _behind_break(data, first_break, ended=window.ended)
        return Fault(first_break - at, 1, Reason.MALFORMED, detail, head), following
    lines = 1 + count_breaks(data[at:limit])
    stop, following = window.skip_line(limit)
    return too_large(stop - start, lines, max_bytes, head), following


@lru_cache(maxsize=4)
def _row_matcher(delimiter: bytes) -> _MatchRow:
    """Matches fields up to a line break, to a quote that is not closed, or to the end of the
    data; nothing at all, too, so there always is a match.

    Possessive throughout: no backtracking, so time is linear and no stack grows.
    """
    bare = rb"[^%b\r\n]*+" % delimiter
    quoted = rb'"[^"]*+(?:""[^"]*+)*+"' + bare
    field = rb'(?:%b|[^"%b\r\n]%b)?+' % (quoted, delimiter, bare)
    row = re.compile(field + rb"(?:" + delimiter + field + rb")*+")
    return cast("_MatchRow", row.match)


@lru_cache(maxsize=4)
def _field_pattern(delimiter: str) -> re.Pattern[str]:
    """The fields of one whole row that ends with a delimiter: quoted part, the rest of it, or
    the bare field."""
    bare = f"[^{delimiter}]*+"
    return re.compile(f'(?:"([^"]*+(?:""[^"]*+)*+)"({bare})|({bare})){delimiter}')


def split_row(row: str, delimiter: str) -> list[str]:
    """The fields of one row without its line break."""
    if '"' not in row:
        return row.split(delimiter)
    found = _field_pattern(delimiter).findall(row + delimiter)
    return [quoted.replace('""', '"') + rest + bare for quoted, rest, bare in found]


@dataclass(frozen=True, slots=True)
class Header:
    """The names of a file's columns; none where the file holds blank lines only. lines: what it
    takes up, blank lines before it included."""

    names: tuple[str, ...]
    lines: int

    def parse(self, delimiter: str, data: bytes) -> Mapping[str, str]:
        """One row by the names of its columns; columns that a short row lacks are absent."""
        try:
            row = split_row(data.decode(), delimiter)
        except UnicodeDecodeError as error:
            raise not_utf8(data, error) from error
        if len(row) > len(self.names):
            what = f"{len(row)} fields, and the header has {len(self.names)}"
            raise Refused(Reason.MALFORMED, f"{what}: {excerpt(data)}")
        return dict(zip(self.names, row, strict=False))


def read_header(store: Store, file: SourceFile, *, max_bytes: int) -> Header:
    """The first line of a CSV file that is not blank; :class:`Damaged` where it can't be read."""
    blocks = read_whole(store, file, block_bytes=HEADER_BLOCK_BYTES)
    delimiter = delimiter_of(file)
    return take_header(cut_rows(blocks, delimiter=delimiter, max_bytes=max_bytes), delimiter)


def take_header(cuts: Iterator[Cut], delimiter: str) -> Header:
    """Takes the header off the cuts of a whole file; :class:`Damaged` where it can't be read."""
    lines = 0
    for offset, data in cuts:
        if isinstance(data, Fault):
            raise Damaged(f"no header: {data.detail}: {excerpt(data.excerpt)}")
        lines += 1 + count_breaks(data)
        bare = data.removeprefix(BOM) if offset == 0 else data
        if bare:
            try:
                return Header(tuple(split_row(bare.decode(), delimiter)), lines)
            except UnicodeDecodeError as error:
                raise Damaged(f"the header is not UTF-8: {excerpt(bare)}") from error
    return Header((), lines)
