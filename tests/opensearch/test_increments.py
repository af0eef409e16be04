"""An index that follows a corpus day by day: what is sent, what is deleted, what faults leave."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from opensearchpy import OpenSearch

from embed_job.errors import ExitCode, OutputError
from tests.opensearch.faults import refuse, reset_after, spoil
from tests.opensearch.increments import Corpus, Follower
from tests.opensearch.proxy import Proxy, Request, Rule

LONG = "the quick brown fox jumps over the lazy dog " * 200


@pytest.fixture
def follower(tmp_path: Path, proxy: Proxy, client: OpenSearch, index_name: str) -> Follower:
    """An index of a corpus of four files with ten documents each, which is as it was embedded."""
    corpus = Corpus.of(tmp_path, files=4, documents=10)
    found = Follower(corpus, proxy, client, index_name)
    found.embed()
    found.load()
    found.sent()
    return found


def deletes(request: Request) -> bool:
    return request.is_bulk and b'{"delete"' in request.body


def test_an_increment_sends_what_changed_and_deletes_what_is_gone(follower: Follower) -> None:
    corpus = follower.corpus
    corpus.edit(0, "d000001", text="another text")
    corpus.edit(1, "d000011", pages=999)
    added = corpus.add(2)
    corpus.delete(3, "d000033")
    corpus.move(0, "d000002", to=2)
    follower.embed()
    report = follower.load()
    assert follower.sent() == ["-d000033", "d000001", "d000011", added]
    assert (report.deleted, report.splits_again) == (1, 0)
    assert report.rows.read == report.rows.written == 40
    follower.assert_true()
    again = follower.load()
    assert (follower.sent(), again.deleted, again.delivery.requests) == ([], 0, 0)


@pytest.mark.parametrize(("seed", "way"), [(1, "load"), (2, "run")])
def test_after_random_days_the_index_is_the_output(follower: Follower, seed: int, way: str) -> None:
    rng, corpus = random.Random(seed), follower.corpus
    for day in range(4):
        before = follower.origins()
        corpus.change(rng, edition=f"{seed} {day} ")
        if way == "run":
            follower.run()
        else:
            follower.embed()
            follower.load()
        after = follower.origins()
        changed = [row for row, origin in after.items() if before.get(row) != origin]
        gone = [f"-{row}" for row in before.keys() - after.keys()]
        assert follower.sent() == sorted([*changed, *gone])
        follower.assert_true()


def test_days_that_were_never_loaded_are_caught_up_with(follower: Follower) -> None:
    before = follower.origins()
    for day in range(3):
        follower.corpus.edit(day, f"d0000{day}4", text=f"of day {day}")
        follower.corpus.add(0)
        follower.embed()
    follower.load()
    after = follower.origins()
    changed = sorted(row for row, origin in after.items() if before.get(row) != origin)
    assert len(changed) == 6
    assert follower.sent() == changed
    follower.assert_true()


def test_fewer_chunks_than_before_leave_no_document(follower: Follower) -> None:
    follower.corpus.edit(0, "d000003", text=LONG)
    follower.embed()
    follower.load()
    many = follower.sent()
    assert len(many) > 3
    follower.assert_true()
    follower.corpus.edit(0, "d000003", text="short again")
    follower.embed()
    follower.load()
    assert "d000003" in follower.sent()
    follower.assert_true()


def test_a_text_that_came_back_is_sent_alone(follower: Follower) -> None:
    kept = follower.corpus.delete(1, "d000015")
    follower.embed()
    follower.load()
    assert follower.sent() == ["-d000015"]
    follower.corpus.put(1, kept)
    follower.embed()
    report = follower.load()
    assert follower.sent() == ["d000015"]
    assert report.splits_again == 0, "nothing was lost"
    follower.assert_true()


@pytest.mark.parametrize("way", ["deleted", "edited"])
def test_a_row_that_comes_back_does_not_hide_one_that_goes(follower: Follower, way: str) -> None:
    """Both of one origin, so that its numbers are the same before and after."""
    kept = follower.corpus.files[1]["d000015"]
    if way == "deleted":
        follower.corpus.delete(1, "d000015")
    else:
        follower.corpus.edit(1, "d000015", text="for a day")
    follower.embed()
    follower.load()
    follower.sent()
    follower.corpus.put(1, kept)
    follower.corpus.delete(1, "d000016")
    follower.embed()
    report = follower.load()
    assert follower.sent() == ["-d000016", "d000015"]
    assert report.splits_again == 0, "nothing was lost"
    follower.assert_true()


def test_a_file_that_is_reverted_has_its_rows_again(follower: Follower) -> None:
    path = follower.corpus.folder / "in/002.jsonl"
    was, times = path.read_bytes(), path.stat()
    follower.corpus.edit(2, "d000025", text="for a day")
    gone = follower.corpus.delete(2, "d000026")
    follower.embed()
    follower.load()
    follower.sent()
    follower.corpus.put(2, gone)
    path.write_bytes(was)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    follower.embed()
    follower.load()
    assert follower.sent() == [f"d0000{number}" for number in range(20, 30)]
    follower.assert_true()


def test_a_loss_that_hides_behind_a_deletion_is_found(follower: Follower) -> None:
    follower.client.delete(index=follower.index, id="d000007", refresh=True)
    follower.corpus.delete(0, "d000008")
    follower.embed()
    report = follower.load()
    assert follower.sent() == ["-d000008", "d000007"]
    assert (report.splits_again, report.deleted) == (1, 1)
    follower.assert_true()


def test_the_documents_of_a_run_that_never_counted_go_and_what_they_hid_comes_back(
    follower: Follower,
) -> None:
    follower.corpus.edit(0, "d000004", text="for a day")
    added = follower.corpus.add(0)
    follower.run()
    lost = follower.client.get(index=follower.index, id="d000004")["_source"]
    follower.sent()
    # As the index is where the run was killed before its end, and its file went back since.
    follower.corpus.edit(0, "d000004", text="as of the next day")
    follower.corpus.delete(0, added)
    follower.embed()
    stray = lost | {"doc_id": "stray", "split": "f" * 16}
    follower.client.index(index=follower.index, id="d000005", body=stray | {"doc_id": "d000005"})
    follower.client.index(index=follower.index, id="stray", body=stray)
    report = follower.load()
    assert report.splits_again == 1
    follower.assert_true()


def test_all_sends_every_row_whatever_it_was_carried_through(follower: Follower) -> None:
    follower.corpus.edit(0, "d000001", text="another text")
    follower.embed()
    follower.load()
    follower.sent()
    folder = follower.corpus.folder
    follower.client.indices.delete(index=follower.index)
    follower.load()
    assert follower.sent() == sorted(follower.origins())
    assert len(list((folder / "out/_embed_job/loads").iterdir())) == 2
    follower.assert_true()


def test_too_many_that_would_go_stay_until_it_is_allowed(follower: Follower) -> None:
    follower.options["refresh"] = {"max_delete_fraction": 0.1}
    for number in range(10, 15):
        follower.corpus.delete(1, f"d0000{number}")
    added = follower.corpus.add(3)
    follower.embed()
    result = follower.load_anyhow()
    assert result.exit_code is ExitCode.INCOMPLETE
    assert "5 of the index's 41 documents are not in the output any more" in result.problems[0]
    assert "refresh.max_delete_fraction (now 0.1)" in result.problems[0]
    assert follower.sent() == [added]
    assert follower.load_anyhow().problems == result.problems
    assert follower.sent() == []
    follower.options["refresh"] = {"max_delete_fraction": 0.2}
    assert follower.load().deleted == 5
    follower.assert_true()


@pytest.mark.parametrize("at", ["first rows", "later rows", "deletion", "lost answer"])
def test_an_increment_that_fails_in_the_middle_is_gone_on_with(follower: Follower, at: str) -> None:
    corpus = follower.corpus
    for file in range(4):
        for number in range(3):
            corpus.edit(file, f"d0000{file}{number}", text=f"{number} " + LONG)
        corpus.delete(file, f"d0000{file}9")
    follower.embed()
    follower.proxy.rules = {
        "first rows": [Rule(refuse(403))],
        "later rows": [Rule(refuse(403), skip=3)],
        "deletion": [Rule(refuse(403), where=deletes)],
        "lost answer": [Rule(reset_after(), where=deletes), Rule(refuse(403), skip=2)],
    }[at]
    with pytest.raises(OutputError):
        follower.load_anyhow()
    follower.proxy.rules = []
    sent = set(follower.sent())
    follower.load()
    assert sent or follower.sent()
    follower.assert_true()
    follower.sent()
    follower.load()
    assert follower.sent() == []


def test_refused_rows_stay_dead_letters_while_they_are_carried(follower: Follower) -> None:
    corpus = follower.corpus
    follower.options["gates"] = {"max_rejected_fraction": 0.1}
    follower.proxy.rules = [Rule(spoil("d000002", "d000003"), times=None)]
    corpus.edit(0, "d000002", text="one text")
    corpus.edit(0, "d000003", text="another text")
    follower.embed()
    report = follower.load()
    assert (report.rows.written, report.rows.rejected, report.deleted) == (38, 2, 2)
    follower.proxy.rules = []
    follower.sent()
    corpus.edit(0, "d000003", text="a third text")
    corpus.edit(0, "d000005", text="a fourth text")
    follower.embed()
    early = follower.redrive()
    assert (early.landed, early.remaining, early.unsettled) == (0, 2, 1), "a load comes first"
    assert follower.sent() == []
    report = follower.load()
    assert follower.sent() == ["d000003", "d000005"]
    assert (report.rows.written, report.rows.rejected) == (39, 1)
    assert follower.redrive().landed == 1
    assert follower.sent() == ["d000002"]
    follower.assert_true()
    assert follower.load().rows.rejected == 0


def test_an_increment_whose_receipts_were_lost_is_sent_again(follower: Follower) -> None:
    follower.corpus.edit(0, "d000001", text="another text")
    follower.embed()
    follower.load()
    follower.sent()
    (ledger,) = (follower.corpus.folder / "out/_embed_job/loads").iterdir()
    for path in (ledger / "receipts").iterdir():
        path.unlink()
    follower.load()
    assert follower.sent() == sorted(follower.origins())
    follower.assert_true()
