"""Every boundary: whatever the size of splits and blocks, each record is read exactly once."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embed_job.records import Document, Reason, Rejection
from embed_job.source import Compression, Format, SourceFile, Split
from embed_job.source import csv_rows as csv_rows_module
from embed_job.source.csv_rows import Fault, cut_rows, split_row
from embed_job.source.cutter import cut_lines
from embed_job.source.plan import plan_splits
from embed_job.source.reader import SplitReader
from embed_job.spec import Fields, InputSpec
from embed_job.storage import StoredFile
from embed_job.storage.local import LocalStore

KEY = "/in/file"


class MemoryStore(LocalStore):
    """One file in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def stat(self, key: str) -> StoredFile:
        return StoredFile(key, len(self.data), None)

    def open_range(
        self, key: str, start: int = 0, end: int | None = None, *, etag: str | None = None
    ) -> BinaryIO:
        assert etag is None
        assert key == KEY
        return io.BytesIO(self.data[start:end])


def source_file(data: bytes, kind: Format) -> SourceFile:
    version = "sha256:" + hashlib.sha256(data).hexdigest()
    return SourceFile(KEY, "file", len(data), version, kind, Compression.NONE)


def spec(split_bytes: int, text: tuple[str, ...] = ("text",)) -> InputSpec:
    return InputSpec(uri=KEY, fields=Fields(id="id", text=text), split_mib=split_bytes / 2**20)


def read_all(
    data: bytes, kind: Format, split_bytes: int, *, block_bytes: int = 1 << 20
) -> tuple[list[Document | Rejection], list[Split], int]:
    store, wanted = MemoryStore(data), spec(split_bytes)
    splits = plan_splits(store, [source_file(data, kind)], wanted)
    items: list[Document | Rejection] = []
    lines = 0
    for split in splits:
        reader = SplitReader(store, split, wanted, {}, block_bytes=block_bytes)
        found = list(reader)
        assert [item.ordinal for item in found] == list(range(len(found)))
        for item in found:
            assert item.byte_offset is not None
            assert split.start <= item.byte_offset < split.end
            assert lines + item.line == 1 + count_lines(data[: item.byte_offset], kind)
        items += found
        lines += reader.lines
    return items, splits, lines


def count_lines(data: bytes, kind: Format) -> int:
    if kind is Format.JSONL:
        return data.count(b"\n")
    return data.count(b"\n") + data.count(b"\r") - data.count(b"\r\n")


def content(items: list[Document | Rejection]) -> list[tuple[str | None, str]]:
    return [
        (item.doc_id, item.text if isinstance(item, Document) else item.reason.value)
        for item in items
    ]


cells = st.text(st.sampled_from('a b,"\n\réß\t\u2028'), max_size=6)
line_breaks = st.sampled_from(["\n", "\r\n"])


def expected_of(row: list[str]) -> tuple[str | None, str]:
    """What becomes of a row: csv.writer leaves a lone CR unquoted, so there are odd ones."""
    if len(row) > 3:
        return None, Reason.MALFORMED.value
    if not row[0]:
        return None, Reason.MISSING_ID.value
    if len(row) < 2:
        return row[0], Reason.MISSING_TEXT.value
    return row[0], row[1] if row[1].strip() else Reason.EMPTY_TEXT.value


@st.composite
def csv_files(draw: st.DrawFn) -> tuple[bytes, list[tuple[str | None, str]]]:
    """A file by csv.writer, now and then with stray quotes inside bare fields and blank lines."""
    rows = draw(st.lists(st.tuples(cells, cells), max_size=8))
    line_break = draw(line_breaks)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator=line_break, quoting=draw(st.sampled_from([0, 1])))
    writer.writerow(["id", "text", "other"])
    for number, (text, other) in enumerate(rows):
        writer.writerow([f"d{number}", f"x{text}", other])
        if draw(st.booleans()):
            out.write(f'q{number},y "stray" 5" quote,{line_break}')
        if draw(st.integers(0, 4)) == 0:
            out.write(line_break)
    text = out.getvalue()
    if draw(st.booleans()):
        text = text.removesuffix(line_break)
    table = list(csv.reader(io.StringIO(text, newline="")))
    reference = [expected_of(row) for row in table[1:] if row]
    bom = b"\xef\xbb\xbf" if draw(st.booleans()) else b""
    return bom + text.encode(), reference


@settings(max_examples=40, deadline=None)
@given(csv_files())
def test_csv_is_read_exactly_once_at_every_boundary(
    example: tuple[bytes, list[tuple[str | None, str]]],
) -> None:
    data, reference = example
    for split_bytes in range(1, len(data) + 2):
        items, splits, _ = read_all(data, Format.CSV, split_bytes)
        assert content(items) == reference
        assert [split.start for split in splits[1:]] == [split.end for split in splits[:-1]]
        assert (splits[0].start, splits[-1].end) == (0, len(data))


@st.composite
def jsonl_files(draw: st.DrawFn) -> tuple[bytes, list[tuple[str, str]]]:
    texts = draw(st.lists(st.text(st.sampled_from('ab"\\é\u2028\r\n'), max_size=8), max_size=8))
    reference = [(f"d{number}", "x" + text) for number, text in enumerate(texts)]
    data = "\ufeff" if draw(st.booleans()) else ""
    for doc_id, text in reference:
        data += json.dumps({"id": doc_id, "text": text}, ensure_ascii=draw(st.booleans()))
        data += draw(st.sampled_from(["\n", "\r\n", "\n\n", "\n \r\n"]))
    if draw(st.booleans()):
        data = data.rstrip("\r\n ")
    return data.encode(), reference


@settings(max_examples=40, deadline=None)
@given(jsonl_files())
def test_jsonl_is_read_exactly_once_at_every_boundary(
    example: tuple[bytes, list[tuple[str, str]]],
) -> None:
    data, reference = example
    for split_bytes in range(1, len(data) + 2):
        items, _, lines = read_all(data, Format.JSONL, split_bytes)
        assert content(items) == reference
        assert lines == data.count(b"\n") + (not data.endswith(b"\n") and data != b"")


@settings(max_examples=50, deadline=None)
@given(csv_files(), jsonl_files(), st.integers(1, 40))
def test_the_size_of_blocks_changes_nothing(
    csv_file: tuple[bytes, object], jsonl_file: tuple[bytes, object], split_bytes: int
) -> None:
    for kind, data in ((Format.CSV, csv_file[0]), (Format.JSONL, jsonl_file[0])):
        whole = read_all(data, kind, split_bytes)
        for block_bytes in (1, 2, 3, 7):
            assert read_all(data, kind, split_bytes, block_bytes=block_bytes) == whole


raw_csv = st.lists(
    st.sampled_from(["a", "é", '"', '"', '""', ",", ",", "\n", "\r", "\r\n"]), max_size=16
).map("".join)


@settings(max_examples=400, deadline=None)
@given(raw_csv)
def test_rows_are_those_of_the_csv_module(text: str) -> None:
    cuts = list(cut_rows([text.encode()], delimiter=",", max_bytes=1 << 20))
    if any(isinstance(data, Fault) for _, data in cuts):
        # A quote is never closed: the csv module takes the rest of the file for one row.
        before = [data for _, data in cuts if isinstance(data, bytes)]
        assert any(b'"' in data.excerpt for _, data in cuts if isinstance(data, Fault))
        assert len(before) + 1 <= len(cuts)
        return
    rows = [
        split_row(data.decode(), ",") if data else [] for _, data in cuts if isinstance(data, bytes)
    ]
    assert rows == list(csv.reader(io.StringIO(text, newline="")))


@settings(max_examples=400, deadline=None)
@given(raw_csv, st.integers(1, 6))
def test_rows_over_the_limit_leave_no_gap_and_follow_from_the_bytes_alone(
    text: str, max_bytes: int
) -> None:
    data = text.encode()
    whole = list(cut_rows([data], delimiter=",", max_bytes=max_bytes))
    for width in (1, 2, 3):
        blocks = [data[at : at + width] for at in range(0, len(data), width)]
        assert list(cut_rows(blocks, delimiter=",", max_bytes=max_bytes)) == whole
    at = 0
    for offset, record in whole:
        assert data[at:offset] in (b"", b"\n", b"\r", b"\r\n")
        length = record.length if isinstance(record, Fault) else len(record)
        assert isinstance(record, Fault) or length <= max_bytes
        at = offset + length
    assert data[at:] in (b"", b"\n", b"\r", b"\r\n")


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("ab\n"), max_size=30), st.integers(1, 6))
def test_lines_over_the_limit_leave_no_gap(text: str, max_bytes: int) -> None:
    data = text.encode()
    expected = data.split(b"\n")
    if expected[-1] == b"":
        expected.pop()
    for width in (1, 2, 5, 30):
        blocks = [data[at : at + width] for at in range(0, len(data), width)]
        cuts = [record for _, record in cut_lines(blocks, max_bytes=max_bytes)]
        lengths = [len(cut) if isinstance(cut, bytes) else cut.length for cut in cuts]
        assert lengths == [len(line) for line in expected]
        for cut, line in zip(cuts, expected, strict=True):
            assert cut == line if len(line) <= max_bytes else isinstance(cut, Fault)


def test_long_bare_lines_take_the_short_cut_and_come_out_the_same() -> None:
    rows = [f"d{number},{'text ' * 20},x" for number in range(200)]
    rows[120] = 'd120,"a ""quoted""\nline",y'
    for line_break in ("\n", "\r\n"):
        data = line_break.join(["id,text,other", *rows, ""]).encode()
        assert len(data) > 4 * csv_rows_module.PLAIN_BYTES
        expected = content(read_all(data, Format.CSV, len(data))[0])
        assert len(expected) == 200
        assert expected[120] == ("d120", 'a "quoted"\nline')
        for split_bytes in (1, 100, 999, 5000):
            assert content(read_all(data, Format.CSV, split_bytes)[0]) == expected


def test_a_quote_that_is_never_closed_costs_its_own_line_only() -> None:
    data = b'id,text\n1,one\n2,"two\n3,three\n4,four\n'
    for split_bytes in range(1, len(data)):
        items, _, _ = read_all(data, Format.CSV, split_bytes)
        assert content(items) == [
            ("1", "one"),
            (None, Reason.MALFORMED.value),
            ("3", "three"),
            ("4", "four"),
        ]
        assert "not closed" in items[1].detail  # type: ignore[union-attr]


@pytest.mark.parametrize("text", ["", "\n", "\ufeff", "\n\n"])
def test_files_of_nothing_hold_no_records(text: str) -> None:
    for kind in (Format.CSV, Format.JSONL):
        assert read_all(text.encode(), kind, 1)[0] == []


def test_a_small_file_still_keeps_eight_workers_busy(tmp_path: Path) -> None:
    data = b'{"id": "a", "text": "some text"}\n' * 64_000
    splits = plan_splits(MemoryStore(data), [source_file(data, Format.JSONL)], InputSpec(uri=KEY))
    assert len(splits) == 16
    assert sum(split.bytes for split in splits) == len(data)
