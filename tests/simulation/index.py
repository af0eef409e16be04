"""What searches see: every row of an index, and whether any that must be there is ever missing."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from opensearchpy import OpenSearch

from tests.simulation.expected import Row

_PAGE = 5000
_LOOK_EVERY_S = 0.2


@dataclass(slots=True)
class Missed:
    """Rows that were asked for again and again. times: how often; missing: those not there."""

    times: int = 0
    missing: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Index:
    """An alias, and the indexes behind and beside it. client: a plain one."""

    client: OpenSearch
    alias: str

    def names(self) -> list[str]:
        """Every index of the alias's name, live or not, in their order."""
        return sorted(self.client.indices.get(index=f"{self.alias}-*"))

    def live(self) -> str | None:
        """The index that the alias is on."""
        if not self.client.indices.exists_alias(name=self.alias):
            return None
        (name,) = self.client.indices.get_alias(name=self.alias)
        assert isinstance(name, str)
        return name

    def rows(self, index: str | None = None) -> dict[str, Row]:
        """Every row of an index, of the alias's without a name; each id once."""
        index = index or self.alias
        self.client.indices.refresh(index=index)
        found: dict[str, Row] = {}
        after: list[Any] | None = None
        while True:
            body: dict[str, Any] = {"size": _PAGE, "sort": [{"doc_id": "asc"}, {"chunk": "asc"}]}
            body |= {"_source": list(Row._fields)} | ({"search_after": after} if after else {})
            hits = self.client.search(index=index, body=body)["hits"]["hits"]
            if not hits:
                return found
            for hit in hits:
                assert hit["_id"] not in found, f"{hit['_id']} twice"
                found[hit["_id"]] = Row(**hit["_source"])
            after = hits[-1]["sort"]

    def delete(self, row: str, *, index: str) -> None:
        """Take a row away behind everybody's back."""
        self.client.delete(index=index, id=row, params={"refresh": "true"})

    @contextmanager
    def watching(self, rows: Iterable[str]) -> Iterator[Missed]:
        """Inside, all of these rows are asked for all the time, where the alias is on an index."""
        missed, done = Missed(), threading.Event()
        asked = {"ids": sorted(rows)}

        def look() -> None:
            while not done.wait(_LOOK_EVERY_S):
                live = self.live()
                if live is None or not asked["ids"]:
                    continue
                answer = self.client.mget(index=live, body=asked, params={"_source": "false"})
                missed.times += 1
                missed.missing |= {one["_id"] for one in answer["docs"] if not one.get("found")}

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield missed
        finally:
            done.set()
            thread.join()
