"""Faults 1-4 and 8-10: what the server says of the rows of a bulk request."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from tests.opensearch import faults
from tests.opensearch.corpora import row_id
from tests.opensearch.loads import Load, Undisturbed, ended
from tests.opensearch.proxy import Operation, Proxy, Rule

FEW = [row_id(number) for number in (3, 4, 150, 333, 599)]


@pytest.mark.parametrize("status", [429, 503])
def test_fault_1_and_3_items_refused_amid_others_and_they_alone_are_sent_again(
    proxy: Proxy, load: Load, calm: Undisturbed, status: int
) -> None:
    met: set[str] = set()

    def first_time(operation: Operation) -> bool:
        first = operation.id in FEW and operation.id not in met
        met.add(operation.id)
        return first

    proxy.rules = [Rule(faults.refuse_items(first_time, status), times=None)]
    load.load()
    times = Counter(proxy.sent())
    assert times == {row: 2 if row in FEW else 1 for row in calm.documents}
    load.assert_whole(calm)


def test_fault_1_a_share_of_all_items_answered_429(
    proxy: Proxy, load: Load, calm: Undisturbed
) -> None:
    proxy.rules = [Rule(faults.refuse_items(faults.share(0.2), 429), times=None)]
    load.load()
    times = Counter(Counter(proxy.sent()).values())
    assert times[1] + times[2] == 600
    assert 60 < times[2] < 180
    load.assert_whole(calm)


def test_fault_2_a_storm_of_429_makes_it_back_off_and_complete(
    proxy: Proxy, load: Load, calm: Undisturbed
) -> None:
    storm = Rule(faults.refuse_items(lambda _: True, 429), times=None)
    proxy.rules = [storm]
    process = load.start()
    proxy.wait_for(lambda: len(proxy.bulks()) >= 3)
    time.sleep(4)
    asked = len(proxy.bulks())
    # Without backoff, a bulk of forty rows comes back within milliseconds.
    assert asked < 60
    storm.times = 0
    done = ended(process)
    assert done.code == 0, done.told
    began = proxy.bulks()[0].at
    assert proxy.most_at_once(since=began + 1, until=began + 4) == 1
    load.assert_whole(calm)


@pytest.mark.parametrize(
    "act",
    [faults.refuse_items(lambda _: True, 503), faults.refuse(503), faults.refuse(502)],
    ids=["each item", "a gateway's page", "a bad gateway"],
)
def test_fault_4_an_endless_503_ends_at_the_deadline_and_the_load_resumes(
    proxy: Proxy, load: Load, calm: Undisturbed, act: faults.Act
) -> None:
    load.options["bulk"] = {**load.options["bulk"], "deadline_s": 2}
    proxy.rules = [Rule(act, skip=8, times=None)]
    began = time.monotonic()
    failed = load.run()
    assert failed.code == 4, failed.told
    assert "Traceback" not in failed.told
    assert time.monotonic() - began < 20
    kept = {receipt["origin"] for receipt in load.receipts()}
    assert "-1" not in load.settings().values()

    proxy.rules, proxy.seen = [], []
    load.load()
    assert kept <= {receipt["origin"] for receipt in load.receipts()}
    assert len(set(proxy.sent())) == 600 - 100 * len(kept)
    load.assert_whole(calm)


@pytest.mark.parametrize("kept", [0, 1, 5])
def test_fault_8_a_reply_of_fewer_items_than_were_sent_is_no_acknowledgement(
    proxy: Proxy, load: Load, calm: Undisturbed, kept: int
) -> None:
    proxy.rules = [Rule(faults.change_items(lambda items: items[:kept]), skip=2, times=3)]
    load.load()
    cut = [one for seen in proxy.bulks()[2:5] for one in seen.request.operations()]
    times = Counter(proxy.sent())
    assert all(times[one.id] >= 2 for one in cut)
    load.assert_whole(calm)


@pytest.mark.parametrize(
    "change",
    [lambda items: items[::-1], faults.with_wrong_id],
    ids=["another order", "another document"],
)
def test_fault_9_items_in_another_order_or_of_other_rows_are_a_hard_error(
    proxy: Proxy, load: Load, calm: Undisturbed, change: faults.Change
) -> None:
    proxy.rules = [Rule(faults.change_items(change), skip=2)]
    failed = load.run()
    assert failed.code == 4, failed.told
    assert "other rows" in failed.told
    lied_about = {one.id for one in proxy.bulks()[2].request.operations()}
    assert not lied_about & load.rows_with_receipt()

    proxy.rules = []
    load.load()
    load.assert_whole(calm)


@pytest.mark.parametrize(
    "act",
    [faults.refuse(200), faults.alter(faults.half)],
    ids=["HTML", "half JSON"],
)
def test_fault_10_an_answer_that_is_no_reply_counts_for_nothing(
    proxy: Proxy, load: Load, calm: Undisturbed, act: faults.Act
) -> None:
    proxy.rules = [Rule(act, skip=1, times=4)]
    load.load()
    meant = {one.id for seen in proxy.bulks()[1:5] for one in seen.request.operations()}
    times = Counter(proxy.sent())
    assert all(times[row] >= 2 for row in meant)
    load.assert_whole(calm)
