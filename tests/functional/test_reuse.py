"""A later run takes over what an earlier one has embedded, and its rows are those of a full run."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embed_job.engine.native.library import runnable_variants
from embed_job.manifest import SplitCounts, origin_of
from tests.functional.conftest import sentence
from tests.functional.later_runs import Files, LaterRuns


@pytest.fixture
def runs(tmp_path: Path, tiny_bundle: Path) -> LaterRuns:
    return LaterRuns(tmp_path, tiny_bundle, parquet={"text": True})


def documents(numbers: range) -> list[dict[str, Any]]:
    return [{"id": f"d{n:06}", "text": sentence(n), "tag": "a"} for n in numbers]


def checked(runs: LaterRuns) -> SplitCounts:
    """Run, and find the rows of a full run."""
    counts = runs.run()
    rows, _ = runs.full()
    assert runs.rows() == rows
    return counts


def test_unchanged_documents_of_a_changed_file_are_carried(runs: LaterRuns) -> None:
    first = documents(range(40))
    runs.write({"a.jsonl": first})
    counts = checked(runs)
    assert (counts.carried_documents, counts.embedded_chunks) == (0, 40)

    first[7]["text"] = sentence(900)
    runs.write({"a.jsonl": first})
    counts = checked(runs)

    assert counts.documents.written == 40
    assert (counts.carried_documents, counts.carried_chunks) == (39, 39)
    assert (counts.embedded_chunks, counts.reused_chunks) == (1, 0)


def test_a_row_keeps_the_split_that_wrote_it_first(runs: LaterRuns) -> None:
    corpus = documents(range(10))
    runs.write({"a.jsonl": corpus})
    runs.run()
    (first,) = runs.live()
    for turn in (1, 2):
        corpus[turn]["text"] = sentence(500 + turn)
        runs.write({"a.jsonl": corpus})
        runs.run()
    (last,) = runs.live()
    assert last.origins[origin_of(first.split)] == 8
    assert last.origins[origin_of(last.split)] == 1
    assert len(last.origins) == 3


def test_a_change_of_metadata_or_id_costs_no_forward_pass(runs: LaterRuns) -> None:
    corpus = documents(range(20))
    runs.write({"a.jsonl": corpus})
    runs.run()
    corpus[3]["tag"] = None
    corpus[4]["id"] = "renamed"
    runs.write({"a.jsonl": corpus})
    counts = checked(runs)
    assert counts.carried_documents == 18
    assert (counts.reused_chunks, counts.embedded_chunks) == (2, 0)


def test_of_a_long_document_only_the_changed_chunks_are_embedded(
    tmp_path: Path, tiny_bundle: Path
) -> None:
    runs = LaterRuns(tmp_path, tiny_bundle, chunk={"max_tokens": 48, "overlap_tokens": 0})
    lines = [sentence(n) for n in range(60)]
    runs.write({"a.jsonl": [{"id": "long", "text": "\n\n".join(lines)}]})
    whole = checked(runs).embedded_chunks
    lines[-1] = sentence(777)
    runs.write({"a.jsonl": [{"id": "long", "text": "\n\n".join(lines)}]})
    counts = checked(runs)
    assert counts.carried_documents == 0
    assert counts.embedded_chunks == 1
    assert counts.reused_chunks == counts.chunks.written - 1 >= whole - 2


@pytest.mark.skipif(not runnable_variants(), reason="no kernels for this processor")
@pytest.mark.parametrize("vector_type", ["float32", "float16"])
def test_of_the_real_engine_too_the_rows_are_those_of_a_full_run(
    tmp_path: Path, tiny_bundle: Path, vector_type: str
) -> None:
    runs = LaterRuns(
        tmp_path,
        tiny_bundle,
        model={"bundle": str(tiny_bundle), "engine": "native"},
        parquet={"vector_type": vector_type},
        chunk={"max_tokens": 32, "overlap_tokens": 8},
    )
    corpus = documents(range(60))
    for one in corpus[:6]:
        one["text"] = " ".join(sentence(n) for n in range(int(one["id"][1:]), 30))
    runs.write({"a.jsonl": corpus})
    checked(runs)
    corpus[0]["text"] += " " + sentence(400)
    corpus[20]["text"] = sentence(401)
    corpus[21]["tag"] = "b"
    runs.write({"a.jsonl": corpus})
    counts = checked(runs)
    assert counts.carried_documents == 57
    assert counts.reused_chunks
    assert counts.embedded_chunks


def test_documents_of_bundled_files_are_carried_and_equal_ones_once_for_each_file(
    runs: LaterRuns,
) -> None:
    files = {f"{n:03}.jsonl": documents(range(2 * n, 2 * n + 2)) for n in range(70)}
    files["001.jsonl"] = files["000.jsonl"]
    runs.write(files)
    checked(runs)
    files["002.jsonl"][0]["text"] = sentence(800)
    runs.write(files)
    counts = checked(runs)
    assert counts.carried_documents == counts.documents.written - 1 > 10
    assert counts.embedded_chunks == 1


def test_refresh_reuse_false_embeds_everything(tmp_path: Path, tiny_bundle: Path) -> None:
    runs = LaterRuns(tmp_path, tiny_bundle, refresh={"reuse": False})
    runs.write({"a.jsonl": documents(range(10))})
    runs.run()
    runs.write({"a.jsonl": documents(range(11))})
    assert checked(runs).embedded_chunks == 11


def ledger_of(runs: LaterRuns) -> Path:
    (manifest,) = runs.live()
    assert manifest.ledger
    return runs.output / manifest.ledger


def part_of(runs: LaterRuns) -> Path:
    (manifest,) = runs.live()
    return runs.output / manifest.parts[0].name


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)


def swapped(path: Path) -> None:
    """Exchange what a ledger tells of the first two rows."""
    table = pq.read_table(path)
    pq.write_table(table.take([1, 0, *range(2, table.num_rows)]).cast(table.schema), path)


@pytest.mark.parametrize(
    ("harm", "taken_over"),
    [
        (lambda runs: ledger_of(runs).unlink(), 20),
        (lambda runs: ledger_of(runs).write_bytes(b""), 20),
        (lambda runs: ledger_of(runs).write_bytes(b"not Parquet"), 20),
        (lambda runs: flip(ledger_of(runs), 100), 20),
        (lambda runs: swapped(ledger_of(runs)), 18),
        (lambda runs: part_of(runs).unlink(), 0),
        (lambda runs: flip(part_of(runs), 2000), 0),
        (lambda runs: part_of(runs).write_bytes(part_of(runs).read_bytes()[:-9]), 0),
        (lambda runs: [ledger_of(runs).unlink(), part_of(runs).unlink()], 0),
    ],
)
def test_what_is_missing_or_damaged_is_embedded_anew(
    runs: LaterRuns, harm: Callable[[LaterRuns], object], taken_over: int
) -> None:
    runs.write({"a.jsonl": documents(range(20))})
    runs.run()
    harm(runs)
    runs.write({"a.jsonl": documents(range(21))})
    counts = checked(runs)
    assert counts.carried_documents + counts.reused_chunks == taken_over
    assert counts.embedded_chunks == 21 - taken_over
    assert counts.documents.balanced
    assert counts.chunks.balanced


def test_a_split_of_which_nothing_can_be_read_is_told_of(runs: LaterRuns) -> None:
    runs.write({"a.jsonl": documents(range(20))})
    runs.run()
    ledger_of(runs).unlink()
    part_of(runs).unlink()
    runs.write({"a.jsonl": documents(range(21))})
    runs.run()
    (told,) = runs.without
    assert "is missing" in told


TEXTS = st.integers(0, 60).map(sentence)
LONG = st.lists(TEXTS, min_size=1, max_size=12).map(" ".join)
DOCUMENT = st.fixed_dictionaries(
    {
        "id": st.integers(0, 30).map(lambda n: f"d{n}"),
        "text": st.one_of(TEXTS, LONG, st.sampled_from(["", " \t "])),
        "tag": st.sampled_from(["a", "b", None]),
    }
)
CORPUS = st.lists(DOCUMENT, max_size=25)


def edited(corpus: list[dict[str, Any]], chance: random.Random, fresh: list[dict[str, Any]]) -> Any:
    """The same with documents gone, moved, changed or new."""
    kept = [dict(one) for one in corpus if chance.random() > 0.1]
    for one in kept:
        if chance.random() < 0.1:
            one["text"] = chance.choice([*fresh, *corpus])["text"]
        if chance.random() < 0.1:
            one["tag"] = chance.choice(["a", "b", "c"])
    kept += fresh
    if chance.random() < 0.3:
        chance.shuffle(kept)
    return kept


@pytest.mark.parametrize("strategy", ["sentences", "truncate"])
@pytest.mark.parametrize("window_mib", [4, 0.0002])
@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    corpora=st.tuples(CORPUS, CORPUS),
    fresh=st.lists(st.lists(DOCUMENT, min_size=1, max_size=5), min_size=2, max_size=3),
    policy=st.sampled_from(["reject", "last_wins", "suffix"]),
    vector_type=st.sampled_from(["float32", "float16"]),
    threads=st.sampled_from([1, 2]),
    chance=st.randoms(use_true_random=False),
)
def test_whatever_changes_the_rows_are_those_of_a_full_run(  # noqa: PLR0917 - fixtures and draws
    tmp_path: Path,
    tiny_bundle: Path,
    strategy: str,
    window_mib: float,
    corpora: tuple[list[dict[str, Any]], list[dict[str, Any]]],
    fresh: list[list[dict[str, Any]]],
    policy: str,
    vector_type: str,
    threads: int,
    chance: random.Random,
) -> None:
    folder = tmp_path / "runs"
    shutil.rmtree(folder, ignore_errors=True)
    runs = LaterRuns(
        folder,
        tiny_bundle,
        parquet={"text": True, "vector_type": vector_type},
        input={"on_duplicate_id": policy},
        chunk={"strategy": strategy, "max_tokens": 24, "overlap_tokens": 4},
        execution={"window_mib": window_mib, "threads_per_worker": threads},
    )
    files: Files = {f"{n}.jsonl": corpus for n, corpus in enumerate(corpora)}
    known: dict[str, frozenset[str]] = {}
    for added in [[], *fresh]:
        if added:
            files = {name: edited(corpus, chance, added) for name, corpus in files.items()}
        if not any(files.values()):
            return
        runs.write(files)
        counts = runs.run()
        rows, whole = runs.full()
        assert runs.rows() == rows
        assert [told(one.counts) for one in runs.live()] == [told(one.counts) for one in whole]
        before, known = known, runs.contents()
        if window_mib == 4 and strategy == "sentences":
            old = frozenset[str]().union(*before.values())
            new = [known[split] - old for split in known.keys() - before.keys()]
            assert counts.embedded_chunks == sum(map(len, new))


def told(counts: SplitCounts) -> tuple[object, ...]:
    """What of a split's counts has nothing to do with what was there before."""
    truncated = counts.truncated_documents, counts.truncated_tokens
    return (counts.documents, counts.chunks, counts.tokens, *truncated, counts.rejected_by_reason)
