"""When an origin is through: once every live split that holds it is."""

from __future__ import annotations

from embed_job.opensearch.load.letters import IndexLetter
from embed_job.opensearch.load.origins import origins_of
from embed_job.opensearch.load.receipts import Accounts
from embed_job.opensearch.load.selection import selections_of
from tests.unit.test_load_reconcile import manifest, name


def letter(row: str) -> IndexLetter:
    return IndexLetter("a.jsonl", "f" * 64, row, row, "why", "why", 400)


def test_an_origin_is_through_with_the_last_split_that_holds_it() -> None:
    found = origins_of([manifest(1, {1: 5, 9: 2}), manifest(2, {9: 3})])
    accounts = Accounts(found.values())
    first, second = selections_of(found.values())
    lost, late = letter("lost"), letter("late")
    done = accounts.add(first, {name(9): [lost]})
    assert done == [(found[name(1)], [])]
    assert accounts.add(second, {name(9): [late]}) == [(found[name(9)], [lost, late])]


def test_what_another_host_has_delivered_is_not_accounted_for() -> None:
    found = origins_of([manifest(1, {1: 5, 9: 2})])
    accounts = Accounts(found.values())
    accounts.drop(name(1))
    (selection,) = selections_of(found.values())
    assert accounts.add(selection, {}) == [(found[name(9)], [])]
    assert accounts.add(selection.without(name(9)), {}) == []
