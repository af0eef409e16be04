"""Fault 28: the swap of the alias breaks, or its command dies, at any moment."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from opensearchpy import OpenSearch

from tests.opensearch import faults
from tests.opensearch.loads import SMALL_BULKS, Load, kill
from tests.opensearch.proxy import Proxy, Request, Rule


class Watch:
    """Looks at an alias all the time, and notes every set of indexes that it was on."""

    def __init__(self, client: OpenSearch, alias: str) -> None:
        self._client, self._alias = client, alias
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.seen: set[tuple[str, ...]] = set()

    def now(self) -> tuple[str, ...]:
        if not self._client.indices.exists_alias(name=self._alias):
            return ()
        return tuple(sorted(self._client.indices.get_alias(name=self._alias)))

    def _look(self) -> None:
        while not self._done.is_set():
            self.seen.add(self.now())

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


@dataclass(frozen=True, slots=True)
class Colours:
    """Two loaded indexes of one corpus, and an alias that is on the old one."""

    alias: str
    old: Load
    new: Load


@pytest.fixture(scope="module")
def loaded(corpus: Path, opensearch_url: str, client: OpenSearch) -> Iterator[Colours]:
    name = f"t-{uuid.uuid4().hex[:12]}"
    options = {"bulk": SMALL_BULKS, "alias": f"{name}-live"}
    loads = [
        Load(corpus, opensearch_url, client, f"{name}-{colour}", options)
        for colour in ("old", "new")
    ]
    for load in loads:
        load.load()
    yield Colours(options["alias"], *loads)
    client.indices.delete(index=f"{name}-*")


@pytest.fixture
def colours(loaded: Colours, proxy: Proxy, client: OpenSearch) -> Colours:
    """The new index's commands go through the proxy."""
    actions = [
        {"add": {"index": loaded.old.index, "alias": loaded.alias}},
        {"remove": {"index": loaded.new.index, "alias": loaded.alias, "must_exist": False}},
    ]
    client.indices.update_aliases(body={"actions": actions})
    return replace(loaded, new=replace(loaded.new, url=proxy.url))


def swaps(request: Request) -> bool:
    return request.target.startswith("/_aliases")


@pytest.mark.parametrize("act", [faults.reset_before(), faults.reset_after(), faults.refuse(502)])
def test_fault_28_a_swap_whose_answer_is_lost_is_made_once(
    proxy: Proxy, client: OpenSearch, colours: Colours, act: faults.Act
) -> None:
    proxy.rules = [Rule(act, where=swaps)]
    with Watch(client, colours.alias) as watch:
        done = colours.new.run(command="promote")
    assert done.code == 0, done.told
    assert watch.seen <= {(colours.old.index,), (colours.new.index,)}
    assert watch.now() == (colours.new.index,)


@pytest.mark.parametrize("applied", [False, True], ids=["before the swap", "after the swap"])
def test_fault_28_promote_killed_at_the_swap_leaves_the_old_or_the_new(
    proxy: Proxy, client: OpenSearch, colours: Colours, applied: bool
) -> None:
    gate = faults.Gate()
    proxy.rules = [Rule(gate.after() if applied else gate.before(), where=swaps, times=None)]
    with Watch(client, colours.alias) as watch:
        process = colours.new.start("promote")
        proxy.wait_for(lambda: gate.holding)
        kill(process)
        assert watch.now() == ((colours.new if applied else colours.old).index,)
        gate.open()
        proxy.rules = []
        done = colours.new.run(command="promote")
        assert done.code == 0, done.told
        assert watch.now() == (colours.new.index,)
        done = colours.new.run(command="rollback")
        assert done.code == 0, done.told
        assert watch.now() == (colours.old.index,)
    assert watch.seen <= {(colours.old.index,), (colours.new.index,)}
