"""``embed-job redrive``: refused rows land when the cause is gone, and the counts are settled."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from embed_job.errors import ExitCode
from tests.opensearch import corpora
from tests.opensearch.faults import Gate, spoil
from tests.opensearch.loads import Load, Undisturbed, kill
from tests.opensearch.proxy import Proxy, Rule

REFUSED = [corpora.row_id(number) for number in (3, 4, 250, 599)]


@pytest.fixture
def refused(load: Load, proxy: Proxy) -> Load:
    """An index that refused four rows of three splits, which is within its gates."""
    proxy.rules = [Rule(spoil(*REFUSED), times=None)]
    done = load.run()
    assert done.code == ExitCode.OK, done.told
    proxy.rules = []
    return load


def redriven(load: Load, code: int) -> dict[str, Any]:
    done = load.run("--json", command="redrive")
    assert done.code == code, done.told
    found: dict[str, Any] = orjson.loads(done.output)
    return found


def test_refused_rows_land_once_the_cause_is_gone(
    refused: Load, proxy: Proxy, calm: Undisturbed
) -> None:
    refused.assert_whole(calm, refused=REFUSED)
    before = len(proxy.sent())
    found = redriven(refused, ExitCode.OK)
    assert (found["landed"], found["remaining"]) == (4, 0)
    assert sorted(proxy.sent()[before:]) == REFUSED
    refused.assert_whole(calm)
    assert not list((refused.ledger() / "dead-letters").iterdir())


def test_a_second_one_does_nothing(refused: Load, proxy: Proxy, calm: Undisturbed) -> None:
    redriven(refused, ExitCode.OK)
    before = len(proxy.sent())
    found = redriven(refused, ExitCode.OK)
    assert (found["landed"], found["remaining"]) == (0, 0)
    assert len(proxy.sent()) == before
    refused.assert_whole(calm)


def test_what_is_refused_again_stays_with_the_new_reason(
    refused: Load, proxy: Proxy, calm: Undisturbed
) -> None:
    proxy.rules = [Rule(spoil(REFUSED[0]), times=None)]
    found = redriven(refused, ExitCode.INCOMPLETE)
    assert (found["landed"], found["remaining"]) == (3, 1)
    assert sum(found["remaining_by_reason"].values()) == 1
    refused.assert_whole(calm, refused=REFUSED[:1])
    (letter,) = refused.letters()
    assert letter["file"] == "000.jsonl"
    assert letter["status"] == 400
    proxy.rules = []
    assert redriven(refused, ExitCode.OK)["landed"] == 1
    refused.assert_whole(calm)


def test_killed_in_the_middle_it_can_be_run_again(
    refused: Load, proxy: Proxy, calm: Undisturbed
) -> None:
    gate = Gate()
    proxy.rules = [Rule(gate.after(), times=None)]
    process = refused.start("redrive")
    proxy.wait_for(lambda: gate.holding)
    kill(process)
    gate.open()
    proxy.rules = []
    # Rows have landed that no receipt counts: a load finds out which.
    landed = set(REFUSED) & refused.documents().keys()
    assert landed
    refused.load()
    # A request that was under way may have been applied since.
    left = set(REFUSED) - refused.documents().keys()
    assert left <= set(REFUSED) - landed
    assert {letter["id"] for letter in refused.letters()} == left
    assert redriven(refused, ExitCode.OK)["remaining"] == 0
    refused.assert_whole(calm)


@pytest.mark.parametrize("lines", [1, None])
def test_dead_letters_that_do_not_add_up_are_left_to_the_next_load(
    refused: Load, calm: Undisturbed, lines: int | None
) -> None:
    """lines: that are left; None: the file is gone."""
    receipt = next(one for one in refused.receipts() if one["counts"]["rejected"] == 2)
    path = refused.ledger() / receipt["dead_letters"]
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:lines]))
    if lines is None:
        path.unlink()
    found = redriven(refused, ExitCode.INCOMPLETE)
    assert (found["landed"], found["withdrawn"]) == (2, 1)
    refused.load()
    refused.assert_whole(calm)


def test_an_index_that_refused_nothing_or_is_not_there(load: Load) -> None:
    missing = load.run(command="redrive")
    assert missing.code == ExitCode.OUTPUT
    load.load()
    done = load.run(command="redrive")
    assert done.code == ExitCode.OK
    assert "no row was refused" in done.output
