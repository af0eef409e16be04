"""Many small files of records: few parts, and every record still named by its place in its file."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from embed_job.errors import ExitCode
from embed_job.source.listing import list_input
from embed_job.source.plan import plan_splits
from embed_job.source.reader import SplitReader
from embed_job.spec import InputSpec
from embed_job.storage.local import LocalStore


def test_a_thousand_json_files_of_one_document_make_few_parts(job: Any) -> None:
    for number in range(1000):
        job.write(
            f"{number:04}.jsonl", [{"id": f"d{number}", "text": f"a text of number {number}"}]
        )
    assert job.run().exit_code is ExitCode.OK
    assert len(job.rows()) == 1000
    assert len(job.parts()) < 30
    assert job.run().report.resumed.splits_embedded == 0


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz"])
def test_a_refused_record_is_named_by_its_own_file_line_and_offset(job: Any, ending: str) -> None:
    for number in range(80):
        lines = [f'{{"id": "{number}-{line}", "text": "a text of {number}"}}' for line in range(3)]
        if number in (5, 50):
            lines[1:1] = ["", "not JSON"]
        data = "\n".join([*lines, ""]).encode()
        path = job.input / f"{number:02}{ending}"
        path.write_bytes(gzip.compress(data) if ending.endswith(".gz") else data)
    assert job.run().exit_code is ExitCode.OK
    assert len(job.rows()) == 240
    letters = {letter["file"]: letter for letter in job.letters()}
    assert letters.keys() == {f"05{ending}", f"50{ending}"}
    for name, letter in letters.items():
        first = f'{{"id": "{int(name[:2])}-0", "text": "a text of {int(name[:2])}"}}\n'
        assert (letter["line"], letter["byte_offset"]) == (3, len(first) + 1)
        assert letter["reason"] == "malformed_record"
    examples = job.report()["rejected_examples"]
    assert {(found["file"], found["line"]) for found in examples} == {(n, 3) for n in letters}


def test_each_csv_of_a_bundle_has_its_own_header(job: Any) -> None:
    for number in range(70):
        swap = number % 2
        head, row = ("text,id", f"some text,r{number}") if swap else ("id,text", f"r{number},other")
        (job.input / f"{number:02}.csv").write_text(f"{head}\n{row}\n")
    (job.input / "33.csv").write_bytes(b"\xff,\xff\n\n")
    assert job.run().exit_code is ExitCode.OK
    rows = job.rows()
    assert len(rows) == 69
    assert rows["r0"][0] == "other"
    assert rows["r1"][0] == "some text"
    (letter,) = job.letters()
    assert letter["file"] == "33.csv"


def test_ordinals_count_through_a_bundle_and_lines_and_offsets_through_each_file(
    job: Any,
) -> None:
    for number in range(64):
        (job.input / f"{number:02}.csv").write_text(f"id,text\na{number},one\nb{number},two\n")
    store, spec = LocalStore(), InputSpec(uri=str(job.input))
    splits = plan_splits(store, list_input(store, spec.uri).files, spec)
    assert max(len(split.files) for split in splits) > 1
    for split in splits:
        reader = SplitReader(store, split, spec, {})
        items = list(reader)
        assert [item.ordinal for item in items] == list(range(2 * len(split.files)))
        assert [item.line for item in items] == [2, 3] * len(split.files)
        assert [item.byte_offset for item in items[:2]] == [8, 8 + len(f"{items[0].doc_id},one\n")]
        assert reader.lines == 3 * len(split.files)


def test_files_that_grow_many_keep_what_is_committed_whole(job: Any) -> None:
    def write(numbers: range) -> None:
        for number in numbers:
            job.write(f"{number:03}.jsonl", [{"id": f"d{number}", "text": f"text {number}"}])

    write(range(40))
    assert job.run().exit_code is ExitCode.OK
    before = set(job.parts())
    write(range(40, 90))
    assert job.run().exit_code is ExitCode.OK
    assert before <= set(job.parts())
    assert len(job.rows()) == 90
