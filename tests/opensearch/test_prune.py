"""Indexes that no rollback needs: deleted after a promotion, and never another."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from opensearchpy import OpenSearch
from opensearchpy.exceptions import AuthorizationException, ConnectionTimeout

from embed_job.opensearch.index.open import open_index
from embed_job.opensearch.index.profile import begin_load
from embed_job.opensearch.index.promote import promote
from embed_job.opensearch.index.prune import prune
from embed_job.opensearch.index.rollback import rollback
from embed_job.opensearch.target import IndexTarget
from tests.opensearch.index_targets import Killed, client_with, target_of

Make = Callable[[int], IndexTarget]


@pytest.fixture
def make(client: OpenSearch, opensearch_url: str, index_name: str) -> Make:
    """An index of the alias by its generation, named as we name them."""

    def made(generation: int) -> IndexTarget:
        target = target_of(opensearch_url, None, alias=index_name, generation=generation)
        open_index(client, target, create=True)
        return target

    return made


def there(client: OpenSearch, alias: str | None) -> list[str]:
    """Generations of the indexes that are there."""
    found = client.indices.get(index=f"{alias}-*", params={"allow_no_indices": "true"})
    return sorted(name.rpartition("-")[2] for name in found)


def test_the_name_has_fingerprint_and_generation(make: Make, index_name: str) -> None:
    assert make(7).name == f"{index_name}-ffffffffff-007"


def test_the_last_two_stay_and_older_ones_go(client: OpenSearch, make: Make) -> None:
    targets = [make(generation) for generation in range(1, 5)]
    for target in targets[:3]:
        promote(client, target)
    pruned = prune(client, targets[2])
    assert pruned.deleted == (targets[0].name,)
    assert pruned.stayed == ()
    assert there(client, targets[0].alias) == ["002", "003", "004"], "004 never was live"
    assert prune(client, targets[2]).deleted == ()
    assert rollback(client, targets[2]).index == targets[1].name


def test_so_many_stay_as_the_spec_says(
    client: OpenSearch, make: Make, opensearch_url: str, index_name: str
) -> None:
    for generation in range(1, 6):
        promote(client, make(generation))
    last = target_of(opensearch_url, None, alias=index_name, generation=5, keep_indexes=4)
    assert prune(client, last).deleted == (make(1).name,)
    open_index(client, make(1), create=False)


def test_after_a_rollback_the_live_one_is_what_the_next_keeps(
    client: OpenSearch, make: Make
) -> None:
    blue, bad, green = (make(generation) for generation in (1, 2, 3))
    promote(client, blue)
    promote(client, bad)
    rollback(client, bad)
    promote(client, green)
    assert prune(client, green).deleted == (bad.name,)
    assert rollback(client, green).index == blue.name


def test_only_the_live_index_s_promotion_deletes(client: OpenSearch, make: Make) -> None:
    targets = [make(generation) for generation in (1, 2, 3)]
    for target in targets:
        promote(client, target)
    assert prune(client, targets[1]).deleted == ()
    rollback(client, targets[2])
    assert prune(client, targets[2]).deleted == ()
    assert there(client, targets[0].alias) == ["001", "002", "003"]


def test_what_was_promoted_later_is_not_older(
    client: OpenSearch, opensearch_url: str, make: Make
) -> None:
    """One that was rolled back from, and one whose promotion was broken off before the swap."""
    oldest, blue, bad, next_ = (make(generation) for generation in (1, 2, 3, 4))
    for target in (oldest, blue, bad):
        promote(client, target)
    rollback(client, bad)

    def fault(number: int, method: str, path: str) -> None:
        if path.endswith("/_mapping"):
            raise Killed

    with pytest.raises(Killed):
        promote(client_with(opensearch_url, fault), next_)
    assert prune(client, blue).deleted == ()
    assert there(client, blue.alias) == ["001", "002", "003", "004"]


def test_indexes_that_can_not_be_listed_stay_and_are_told_of(
    client: OpenSearch, opensearch_url: str, make: Make
) -> None:
    promote(client, make(1))

    def refuse(path: str, body: object) -> None:
        if path.endswith("-*"):
            raise AuthorizationException(403, "security_exception", {"error": "no permissions"})

    pruned = prune(client_with(opensearch_url, refuse=refuse), make(1))
    assert pruned.deleted == ()
    [told] = pruned.stayed
    assert told.startswith("older indexes stay, as they can't be listed")


def test_what_is_not_ours_stays(
    client: OpenSearch, make: Make, opensearch_url: str, index_name: str
) -> None:
    """An index of somebody else's, one with a name of the user's own, one of another alias."""
    foreign = f"{index_name}-ffffffffff-000"
    client.indices.create(index=foreign)
    named = target_of(opensearch_url, f"{index_name}-mine", alias=index_name)
    open_index(client, named, create=True)
    promote(client, named)
    other = target_of(opensearch_url, None, alias=f"{index_name}-ffffffffff")
    open_index(client, other, create=True)
    promote(client, other)
    for generation in (1, 2, 3):
        promote(client, make(generation))
    assert prune(client, make(3)).deleted == (make(1).name,)
    for name in (foreign, named.name, other.name):
        assert client.indices.exists(index=name)


def test_what_is_in_use_stays_and_is_told_of(client: OpenSearch, make: Make) -> None:
    first, second, *rest = (make(generation) for generation in range(1, 5))
    for target in (first, second, *rest):
        promote(client, target)
    client.indices.put_alias(index=first.name, name=f"{first.alias}-archive")
    begin_load(client, open_index(client, second, create=False))
    pruned = prune(client, rest[-1])
    assert pruned.deleted == ()
    assert set(pruned.stayed) == {
        f"{first.name} stays: the alias {first.alias}-archive is on it",
        f"{second.name} stays: it is being loaded, or a load of it was broken off",
    }
    assert there(client, first.alias) == ["001", "002", "003", "004"]


def test_an_alias_that_is_moved_meanwhile_saves_the_index(
    client: OpenSearch, opensearch_url: str, make: Make
) -> None:
    """Somebody rolls back by two in the very moment before the deletion."""
    targets = [make(generation) for generation in (1, 2, 3)]
    for target in targets:
        promote(client, target)
    moved: list[str] = []

    def just_before(path: str, body: object) -> None:
        if path == "/_aliases" and not moved:
            moved.append(path)
            swap = [
                {"remove": {"index": targets[2].name, "alias": targets[2].alias}},
                {"add": {"index": targets[0].name, "alias": targets[0].alias}},
            ]
            client.indices.update_aliases(body={"actions": swap})

    pruned = prune(client_with(opensearch_url, refuse=just_before), targets[2])
    assert moved
    assert pruned.deleted == ()
    assert pruned.stayed[0].startswith(f"{targets[0].name} stays: it could not be deleted")
    assert list(client.indices.get_alias(name=str(targets[0].alias))) == [targets[0].name]
    assert there(client, targets[0].alias) == ["001", "002", "003"]


def test_a_deletion_whose_answer_is_lost_is_one(
    client: OpenSearch, opensearch_url: str, make: Make
) -> None:
    targets = [make(generation) for generation in (1, 2, 3)]
    for target in targets:
        promote(client, target)
    lost: list[str] = []

    def fault(number: int, method: str, path: str) -> None:
        if path == "/_aliases" and not lost:
            lost.append(path)
            raise ConnectionTimeout("TIMEOUT", "lost", TimeoutError())

    assert prune(client_with(opensearch_url, fault), targets[2]).deleted == (targets[0].name,)
    assert lost
    assert list(client.indices.get_alias(name=str(targets[2].alias))) == [targets[2].name]
