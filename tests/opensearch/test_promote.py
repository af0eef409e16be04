"""The alias on a real server: swapped whole, once, and back."""

from __future__ import annotations

import pytest
from opensearchpy import OpenSearch
from opensearchpy.exceptions import ConnectionTimeout

from embed_job.errors import OutputError
from embed_job.opensearch.index.finish import finish
from embed_job.opensearch.index.open import open_index
from embed_job.opensearch.index.profile import begin_load, restore
from embed_job.opensearch.index.promote import promote
from embed_job.opensearch.index.rollback import rollback
from embed_job.opensearch.target import IndexTarget
from tests.opensearch.index_targets import Killed, client_with, target_of
from tests.opensearch.test_index import LOADING, record_of, settings_of


@pytest.fixture
def blue(client: OpenSearch, opensearch_url: str, index_name: str) -> IndexTarget:
    return made(client, opensearch_url, index_name, "blue")


@pytest.fixture
def green(client: OpenSearch, opensearch_url: str, index_name: str) -> IndexTarget:
    return made(client, opensearch_url, index_name, "green")


def made(client: OpenSearch, url: str, name: str, colour: str) -> IndexTarget:
    target = target_of(url, f"{name}-{colour}", alias=f"{name}-live")
    open_index(client, target, create=True)
    return target


def holders(client: OpenSearch, target: IndexTarget) -> list[str]:
    if not client.indices.exists_alias(name=target.alias):
        return []
    return sorted(client.indices.get_alias(name=target.alias))


def test_the_first_promotion_makes_the_alias(client: OpenSearch, blue: IndexTarget) -> None:
    found = promote(client, blue)
    assert (found.alias, found.index) == (blue.alias, blue.name)
    assert found.previous is None
    assert found.changed
    assert holders(client, blue) == [blue.name]
    with pytest.raises(OutputError, match="has replaced no index"):
        rollback(client, blue)


def test_a_promotion_swaps_and_a_rollback_swaps_back(
    client: OpenSearch, blue: IndexTarget, green: IndexTarget
) -> None:
    promote(client, blue)
    swapped = promote(client, green)
    assert swapped.previous == blue.name
    assert holders(client, green) == [green.name]
    assert client.indices.exists(index=blue.name)
    back = rollback(client, green)
    assert (back.index, back.previous, back.changed) == (blue.name, green.name, True)
    assert holders(client, green) == [blue.name]


def test_both_may_be_said_twice(client: OpenSearch, blue: IndexTarget, green: IndexTarget) -> None:
    promote(client, blue)
    promote(client, green)
    again = promote(client, green)
    assert not again.changed
    assert again.previous == blue.name
    rollback(client, green)
    back = rollback(client, green)
    assert not back.changed
    assert holders(client, green) == [blue.name]
    # and forward once more
    assert promote(client, green).changed
    assert rollback(client, green).index == blue.name


def test_a_rollback_never_moves_an_alias_that_is_elsewhere(
    client: OpenSearch, opensearch_url: str, index_name: str, blue: IndexTarget, green: IndexTarget
) -> None:
    red = made(client, opensearch_url, index_name, "red")
    for target in (blue, green, red):
        promote(client, target)
    with pytest.raises(OutputError, match=f"the alias is on {red.name}, not on {green.name}"):
        rollback(client, green)
    assert holders(client, red) == [red.name]


def test_a_rollback_to_an_index_that_is_gone_is_refused(
    client: OpenSearch, blue: IndexTarget, green: IndexTarget
) -> None:
    promote(client, blue)
    promote(client, green)
    client.indices.delete(index=blue.name)
    with pytest.raises(OutputError, match=f"{blue.name}, which it replaced, is gone"):
        rollback(client, green)
    assert holders(client, green) == [green.name]


@pytest.mark.parametrize("ended", [False, True])
def test_a_rollback_to_an_index_in_the_middle_of_a_load_puts_its_settings_back(
    client: OpenSearch, blue: IndexTarget, green: IndexTarget, ended: bool
) -> None:
    promote(client, blue)
    promote(client, green)
    index = open_index(client, blue, create=False)
    before = settings_of(client, blue.name)
    begin_load(client, index)
    assert settings_of(client, blue.name) == LOADING
    if ended:
        restore(client, index)  # the settings are back, and the rest of the rows never came
    back = rollback(client, green)
    assert (back.index, back.unfinished) == (blue.name, True)
    assert holders(client, green) == [blue.name]
    assert settings_of(client, blue.name) == before
    finish(client, index, progress=print, stopping=lambda: False)
    assert promote(client, green).changed
    assert not rollback(client, green).unfinished


def test_a_rollback_to_an_index_that_was_made_anew_is_refused(
    client: OpenSearch, blue: IndexTarget, green: IndexTarget
) -> None:
    promote(client, blue)
    promote(client, green)
    client.indices.delete(index=blue.name)
    open_index(client, blue, create=True)
    with pytest.raises(OutputError, match=f"{blue.name}, .* was deleted and made anew"):
        rollback(client, green)
    assert holders(client, green) == [green.name]


def test_what_another_writes_at_the_same_time_does_not_undo_what_is_replaced(
    client: OpenSearch, opensearch_url: str, blue: IndexTarget, green: IndexTarget
) -> None:
    """Each writes the record whole: a load that read it before may put it back as it was."""
    promote(client, blue)
    before = client.indices.get_mapping(index=green.name)[green.name]["mappings"]["_meta"]
    undone: list[str] = []

    def fault(number: int, method: str, path: str) -> None:
        if path.endswith("_mapping") and not undone:
            undone.append(path)
            client.indices.put_mapping(index=green.name, body={"_meta": before})

    promote(client_with(opensearch_url, fault), green)
    assert undone
    assert record_of(client, green.name).previous == blue.name
    rollback(client, green)
    assert holders(client, green) == [blue.name]


def test_the_alias_that_loads_write_to_is_never_moved(
    client: OpenSearch, opensearch_url: str, blue: IndexTarget, green: IndexTarget
) -> None:
    taken = target_of(opensearch_url, green.name, alias=blue.write_name)
    with pytest.raises(OutputError, match=f"is what loads of the index {blue.name} write to"):
        promote(client, taken)
    assert list(client.indices.get_alias(name=blue.write_name)) == [blue.name]


def test_killed_after_any_request_the_alias_is_on_one_index(
    client: OpenSearch, opensearch_url: str, blue: IndexTarget, green: IndexTarget
) -> None:
    """Fault 28: a crash during the alias swap: old or new, never both."""
    promote(client, blue)
    ends: list[list[str]] = []
    for last in range(1, 20):

        def fault(number: int, method: str, path: str, last: int = last) -> None:
            if number == last:
                raise Killed

        try:
            promote(client_with(opensearch_url, fault), green)
        except Killed:
            ends.append(holders(client, green))
            assert promote(client, green).previous == blue.name
            assert holders(client, green) == [green.name]
            rollback(client, green)
        else:
            break
    assert [blue.name] in ends
    assert [green.name] in ends
    assert all(len(end) == 1 for end in ends)


@pytest.mark.parametrize("way", [promote, rollback])
def test_a_swap_whose_answer_is_lost_is_read_back(
    client: OpenSearch, opensearch_url: str, blue: IndexTarget, green: IndexTarget, way: object
) -> None:
    promote(client, blue)
    if way is rollback:
        promote(client, green)
    lost: list[str] = []

    def fault(number: int, method: str, path: str) -> None:
        if path == "/_aliases" and not lost:
            lost.append(path)
            raise ConnectionTimeout("TIMEOUT", "lost", TimeoutError())

    found = (promote if way is promote else rollback)(client_with(opensearch_url, fault), green)
    assert lost
    assert found.changed
    assert holders(client, green) == [found.index]


def test_the_index_replaced_is_known_before_the_swap(
    client: OpenSearch, opensearch_url: str, blue: IndexTarget, green: IndexTarget
) -> None:
    promote(client, blue)

    def fault(number: int, method: str, path: str) -> None:
        if path == "/_aliases":
            raise Killed

    with pytest.raises(Killed):
        promote(client_with(opensearch_url, fault), green)
    assert record_of(client, green.name).previous == blue.name
    rollback(client, green)
    assert holders(client, green) == [blue.name]


def test_an_index_that_has_the_alias_s_name_is_told_of(
    client: OpenSearch, blue: IndexTarget
) -> None:
    client.indices.create(index=str(blue.alias))
    with pytest.raises(OutputError, match="is an index, so it can't be an alias"):
        promote(client, blue)


def test_an_alias_over_several_indexes_is_left_alone(
    client: OpenSearch, opensearch_url: str, index_name: str, blue: IndexTarget, green: IndexTarget
) -> None:
    red = made(client, opensearch_url, index_name, "red")
    for target in (blue, green):
        client.indices.put_alias(index=target.name, name=str(target.alias))
    with pytest.raises(OutputError, match="the alias is on 2 indexes"):
        promote(client, red)
    assert holders(client, red) == [blue.name, green.name]


def test_without_an_alias_there_is_nothing_to_promote(
    client: OpenSearch, opensearch_url: str, index_name: str
) -> None:
    target = target_of(opensearch_url, index_name, alias=None)
    with pytest.raises(OutputError, match="is not set, so there is nothing to promote"):
        promote(client, target)


def test_a_missing_index_is_not_promoted(
    client: OpenSearch, opensearch_url: str, index_name: str, blue: IndexTarget
) -> None:
    promote(client, blue)
    gone = target_of(opensearch_url, f"{index_name}-gone", alias=blue.alias)
    with pytest.raises(OutputError, match="there is no such index"):
        promote(client, gone)
    assert holders(client, blue) == [blue.name]
