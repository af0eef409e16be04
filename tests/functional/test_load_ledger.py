"""Receipts, dead letters and generations as files: who is first, what is torn, what stands."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from embed_job.commit.retire import _OURS
from embed_job.errors import OutputError
from embed_job.manifest import Counts
from embed_job.opensearch.load.ledger import LoadLedger, Receipt
from embed_job.opensearch.load.letters import IndexLetter
from embed_job.opensearch.load.origins import Origin
from embed_job.storage.local import LocalStore

ORIGIN = "ab" * 8


def ledger_at(folder: Path, *, load: str = "0123456789ab") -> LoadLedger:
    return LoadLedger(LocalStore(), str(folder), index="books", load=load)


@pytest.fixture
def ledger(tmp_path: Path) -> LoadLedger:
    return ledger_at(tmp_path)


def receipt(*, generation: int = 1, rejected: int = 0, dead_letters: str | None = None) -> Receipt:
    return Receipt(
        origin=ORIGIN,
        attempt="a",
        held_by="0123",
        index="books",
        load="0123456789ab",
        generation=generation,
        counts=Counts(read=10, written=10 - rejected, rejected=rejected),
        dead_letters=dead_letters,
        host="here",
        finished_at=float(generation),
    )


def origin(rows: int) -> Origin:
    return Origin(ORIGIN, rows, "a", ())


def letter(number: int) -> IndexLetter:
    return IndexLetter("a.jsonl", ORIGIN, f"d{number}#1", f"d{number}", "too large", "why", 413)


def test_a_receipt_is_of_one_making_of_the_index(tmp_path: Path) -> None:
    ledger_at(tmp_path).commit(receipt())
    assert ledger_at(tmp_path).receipts() == {ORIGIN: receipt()}
    assert ledger_at(tmp_path, load="ba9876543210").receipts() == {}


def test_a_later_writers_receipt_stays_and_an_earlier_ones_gives_way(ledger: LoadLedger) -> None:
    assert ledger.commit(receipt(generation=2))
    assert not ledger.commit(receipt(generation=1))
    assert ledger.receipt(ORIGIN) == receipt(generation=2)
    assert ledger.commit(receipt(generation=3))
    assert ledger.receipt(ORIGIN) == receipt(generation=3)


def test_a_withdrawn_receipt_is_gone_and_withdrawing_twice_is_no_error(ledger: LoadLedger) -> None:
    ledger.commit(receipt())
    ledger.withdraw(ORIGIN)
    ledger.withdraw(ORIGIN)
    assert ledger.receipts() == {}


def test_fault_29_a_torn_receipt_counts_as_none_and_is_written_anew(ledger: LoadLedger) -> None:
    other = receipt().model_copy(update={"origin": "cd" * 8})
    ledger.commit(receipt())
    ledger.commit(other)
    path = Path(ledger.key("receipts", f"{ORIGIN}.json"))
    path.write_bytes(path.read_bytes()[:50])
    assert ledger.receipts() == {other.origin: other}
    assert ledger.commit(receipt(generation=2))
    assert ledger.receipts() == {other.origin: other, ORIGIN: receipt(generation=2)}


def test_a_receipt_of_another_version_is_not_overlooked(ledger: LoadLedger) -> None:
    ledger.commit(receipt())
    path = Path(ledger.key("receipts", f"{ORIGIN}.json"))
    path.write_text(path.read_text().replace('"host"', '"machine"'))
    with pytest.raises(OutputError, match="is not a Receipt of this version"):
        ledger.receipts()


def test_dead_letters_come_back_as_they_were(ledger: LoadLedger) -> None:
    letters = [letter(1), letter(2)]
    name = ledger.write_letters(ORIGIN, letters)
    found = receipt(rejected=2, dead_letters=name)
    assert ledger.letters(found) == letters
    assert ledger.letters(receipt()) == []
    assert ledger.write_letters(ORIGIN, []) is None


def test_dead_letters_that_are_gone_are_none_and_the_receipt_is_settled_by_that(
    ledger: LoadLedger,
) -> None:
    name = ledger.write_letters(ORIGIN, [letter(1), letter(2)])
    found = receipt(rejected=2, dead_letters=name).model_copy(
        update={"held_by": origin(10).held_by}
    )
    ledger.commit(found)
    Path(ledger.key(str(name))).unlink()
    assert ledger.letters(found) == []
    settled = ledger.settle_anew(found, origin(10), letters=[])
    assert (settled.counts.written, settled.counts.rejected, settled.dead_letters) == (10, 0, None)
    assert ledger.receipt(ORIGIN) == settled


def test_dead_letters_go_with_their_receipt(ledger: LoadLedger) -> None:
    folder = Path(ledger.key("dead-letters"))
    first = receipt(rejected=1, dead_letters=ledger.write_letters(ORIGIN, [letter(1)]))
    ledger.commit(first)
    second = receipt(
        generation=2, rejected=1, dead_letters=ledger.write_letters(ORIGIN, [letter(2)])
    )
    ledger.commit(second)
    assert [str(path) for path in folder.iterdir()] == [ledger.key(second.dead_letters or "")]
    settled = ledger.settle_anew(second, origin(10), letters=[])
    assert (settled.counts.written, settled.dead_letters) == (10, None)
    assert ledger.receipt(ORIGIN) == settled
    assert not list(folder.iterdir())
    ledger.settle_anew(settled, origin(9), letters=[letter(2), letter(4)])
    ledger.write_letters("ef" * 8, [letter(3)])
    ledger.withdraw(ORIGIN)
    assert len(list(folder.iterdir())) == 1


def test_a_receipt_that_says_so_already_is_not_written_anew(ledger: LoadLedger) -> None:
    first = receipt(rejected=1, dead_letters=ledger.write_letters(ORIGIN, [letter(1)]))
    found = ledger.settle_anew(first, origin(10), letters=[letter(1)])
    assert found.held_by == origin(10).held_by != first.held_by
    path = Path(ledger.key("receipts", f"{ORIGIN}.json"))
    before = path.stat().st_ino
    assert ledger.settle_anew(found, origin(10), letters=[letter(1)]) is found
    assert path.stat().st_ino == before
    shrunk = ledger.settle_anew(found, origin(6), stale=2, letters=[letter(1)])
    assert shrunk.counts == Counts(read=8, written=7, rejected=1)
    assert shrunk.dead_letters == found.dead_letters
    assert ledger.letters(shrunk) == [letter(1)]


def test_torn_dead_letters_are_told_of(ledger: LoadLedger) -> None:
    name = ledger.write_letters(ORIGIN, [letter(1), letter(2)])
    assert name is not None
    path = Path(ledger.key(name))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(OutputError, match="is no file of dead letters"):
        ledger.letters(receipt(rejected=2, dead_letters=name))


def test_a_later_run_has_a_higher_generation_and_hosts_of_one_job_share_theirs(
    ledger: LoadLedger,
) -> None:
    claims = [("one", "a"), ("two", "a"), ("one", "b"), ("three", "a"), ("two", "b")]
    claimed = [ledger.claim_generation(run=run, host=host) for run, host in claims]
    assert claimed == [1, 2, 1, 3, 2]


def test_runs_that_claim_at_once_get_different_generations(ledger: LoadLedger) -> None:
    with ThreadPoolExecutor(8) as pool:
        claimed = list(pool.map(lambda n: ledger.claim_generation(run=f"{n}", host="h"), range(24)))
    assert sorted(claimed) == list(range(1, 25))
    assert ledger.generations() == list(range(1, 25))


def test_the_sweep_of_an_output_never_takes_a_ledgers_files(ledger: LoadLedger) -> None:
    ledger.claim_generation(run="one", host="a")
    ledger.commit(receipt(dead_letters=ledger.write_letters(ORIGIN, [letter(1)])))
    start = len(ledger.key().partition("/_embed_job/")[0]) + 1
    files = [path for path in Path(ledger.key()).rglob("*") if path.is_file()]
    assert len(files) == 3
    assert not [path for path in files if _OURS.fullmatch(str(path)[start:])]
