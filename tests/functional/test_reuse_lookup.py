"""The tables of what earlier runs have embedded: what is found in them, and what is not."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from embed_job.manifest import SplitCounts, SplitManifest, SplitSource, StageTimes
from embed_job.reuse.build import build_lookup
from embed_job.reuse.document_hash import as_keys
from embed_job.reuse.ledger import LedgerWriter, decode_ledger, keys_of, make_entries, numbers_of
from embed_job.reuse.lookup import CONTENT, FACTS, Lookup
from embed_job.reuse.sorted_table import Entries, SortedTable, mapped
from embed_job.reuse.splits import EarlierSplit
from embed_job.sink import Part
from embed_job.storage.local import LocalStore

UNKNOWN = bytes(16)


def key(number: int) -> bytes:
    return (number * 0x9E3779B97F4A7C15 % 2**128).to_bytes(16, "big")


@dataclass(frozen=True, slots=True)
class Row:
    document: bytes
    chunk: int
    content: bytes
    lost: int = 0


class Splits:
    """Earlier splits of given rows: their ledgers are real, their parts are not."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: list[EarlierSplit] = []

    def add(self, *parts: Sequence[Row]) -> None:
        number = len(self._made)
        rows = [row for part in parts for row in part]
        writer = LedgerWriter(self._folder / f"{number}.ledger")
        writer.write(
            make_entries(
                doc=np.arange(len(rows), dtype=np.uint64),
                document=as_keys(row.document for row in rows),
                text=pa.array(range(len(rows)), pa.uint64()),
                content=as_keys(row.content for row in rows),
                chunk=pa.array([row.chunk for row in rows], pa.int32()),
                lost=np.array([row.lost for row in rows], dtype=np.int32),
            )
        )
        writer.close()
        named = [Part(name=f"{number}-{at}", rows=len(part), bytes=1, sha256="")
                 for at, part in enumerate(parts)]  # fmt: skip
        manifest = SplitManifest(
            split=f"{number:064}", attempt="0", fingerprint="f",
            source=SplitSource(files=(("a", "1"),), start=0, end=1, bytes=1),
            counts=SplitCounts(), parts=tuple(named), ids=None, ledger=f"{number}.ledger",
            dead_letters=None, worker=0, host="h", started_at=0, finished_at=0,
            stages_s=StageTimes(), peak_rss_bytes=0,
        )  # fmt: skip
        self._made.append(EarlierSplit(str(self._folder), manifest))

    def lookup(self) -> Lookup:
        built = build_lookup(self._folder / "made", LocalStore(), self._made, truncates_at=None)
        assert built.without == ()
        return Lookup(self._folder / "made")


@pytest.fixture
def splits(tmp_path: Path) -> Splits:
    return Splits(tmp_path)


def found(lookup: Lookup, document: bytes) -> list[int]:
    """The numbers of the rows of one document."""
    runs = lookup.runs(as_keys([document]))
    assert set(runs.owner.tolist()) <= {0}
    pairs = zip(runs.row.tolist(), runs.rows.tolist(), strict=True)
    return [row + i for row, rows in pairs for i in range(rows)]


def test_rows_are_found_through_all_parts_of_all_splits(splits: Splits) -> None:
    splits.add([Row(key(1), 0, key(10)), Row(key(2), 0, key(11))], [Row(key(3), 0, key(12), 7)])
    splits.add([Row(key(4), 0, key(13)), Row(key(4), 1, key(14)), Row(key(4), 2, key(15))])
    lookup = splits.lookup()
    assert [found(lookup, key(n)) for n in (1, 2, 3, 4, 5)] == [[0], [1], [2], [3, 4, 5], []]
    contents = lookup.contents(as_keys([key(12), key(99), key(15), key(10)]))
    assert contents.tolist() == [2, -1, 5, 0]
    facts = lookup.facts(np.array([2, 4]))
    assert facts["lost"].tolist() == [7, 0]
    assert facts["text"].tolist() == [2, 1]
    assert lookup.has_documents(as_keys([key(1), key(5)])).tolist() == [True, False]


def test_a_document_whose_rows_stand_apart_is_found_whole_and_once(splits: Splits) -> None:
    apart = [Row(key(1), 0, key(10)), Row(key(2), 0, key(20)), Row(key(1), 1, key(11))]
    splits.add(apart, [Row(key(1), 2, key(12))])
    splits.add(apart, [Row(key(1), 2, key(12))])
    lookup = splits.lookup()
    assert found(lookup, key(1)) == [0, 2, 3]
    assert found(lookup, key(2)) == [1]


def test_a_document_that_stands_twice_in_a_split_is_found_once(splits: Splits) -> None:
    twice = [Row(key(1), 0, key(10)), Row(key(1), 1, key(11))]
    splits.add([*twice, *twice])
    assert found(splits.lookup(), key(1)) == [0, 1]


def test_a_document_without_its_beginning_is_not_known(splits: Splits) -> None:
    splits.add([Row(key(1), 1, key(10)), Row(key(2), 0, key(11)), Row(key(2), 2, key(12))])
    lookup = splits.lookup()
    assert found(lookup, key(1)) == []
    assert found(lookup, key(2)) == []


def test_keys_that_differ_only_behind_are_told_apart(splits: Splits) -> None:
    first, second, third = (b"12345678" + bytes([n] * 8) for n in (1, 2, 3))
    splits.add([Row(second, 0, second), Row(first, 0, first), Row(second, 1, key(1))])
    lookup = splits.lookup()
    assert found(lookup, first) == [1]
    assert found(lookup, second) == [0, 2]
    assert found(lookup, third) == []
    assert lookup.contents(as_keys([third, second])).tolist() == [-1, 0]


def test_what_is_unknown_is_never_found(splits: Splits) -> None:
    splits.add([Row(UNKNOWN, 0, UNKNOWN), Row(UNKNOWN, 0, key(1))])
    lookup = splits.lookup()
    assert found(lookup, UNKNOWN) == []
    assert lookup.contents(as_keys([UNKNOWN, key(1)])).tolist() == [-1, 1]


def test_tables_of_nothing_hold_nothing(splits: Splits) -> None:
    lookup = splits.lookup()
    assert found(lookup, key(1)) == []
    assert lookup.contents(as_keys([key(1)])).tolist() == [-1]


def test_a_ledger_gives_back_what_was_written(tmp_path: Path) -> None:
    writer = LedgerWriter(tmp_path / "ledger")
    for begin in range(0, 150_000, 50_000):
        numbers = range(begin, begin + 50_000)
        writer.write(
            make_entries(
                doc=np.array(numbers, dtype=np.uint64),
                document=as_keys(key(n) if n % 3 else UNKNOWN for n in numbers),
                text=pa.array([n if n % 5 else None for n in numbers], pa.uint64()),
                content=as_keys(map(key, numbers)),
                chunk=pa.array(numbers, pa.int32()),
                lost=np.zeros(50_000, dtype=np.int32),
            )
        )
    path = writer.close()
    assert path is not None
    table = decode_ledger(path.read_bytes())
    assert table.num_rows == 150_000
    assert table.column("document").null_count == 50_000
    known = keys_of(table, "document")
    assert known[1:3].tobytes() == key(1) + key(2)
    assert known[3].tobytes() == UNKNOWN
    assert numbers_of(table, "doc", np.uint64)[-1] == 149_999
    assert numbers_of(table, "text", np.uint64)[[5, 6]].tolist() == [0, 6]


def test_a_table_is_sorted_whatever_the_number_of_its_shards(tmp_path: Path) -> None:
    entries = np.empty(30_000, dtype=CONTENT)
    entries["head"] = np.random.default_rng(1).integers(0, 2**64, 30_000, dtype=np.uint64)
    entries["head"][20_000:] = entries["head"][:10_000]
    entries["row"] = np.arange(30_000)
    made: dict[int, Entries] = {}
    for size in (0, 1 << 23):
        table = SortedTable(tmp_path, f"t{size}", entries=size, distinct=lambda found: found)
        for part in np.split(entries, 3):
            table.add(part)
        table.close()
        made[size] = mapped(tmp_path / f"t{size}.entries", CONTENT)
        heads = mapped(tmp_path / f"t{size}.heads", np.dtype("<u8"))
        assert (heads == made[size]["head"]).all()
    expected = entries[np.argsort(entries["head"], kind="stable")]
    assert (made[0] == expected).all()
    assert (made[1 << 23] == expected).all()
    assert len(list(tmp_path.iterdir())) == 4


def test_a_full_disk_is_told_as_one(splits: Splits, tmp_path: Path) -> None:
    splits.add([Row(key(1), 0, key(2))])
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / FACTS).symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as raised:
        splits.lookup()
    assert raised.value.errno == errno.ENOSPC
