"""Documents that the output no longer holds, and whether so many may be deleted. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from embed_job.commit.gone import is_over
from embed_job.opensearch.load.reconcile import Doubt


@dataclass(frozen=True, slots=True)
class Stale:
    """What is to go. origins: that have no live row, with every document of them; within: origins
    that hold documents of rows that are not live any more; documents: how many of both; total: of
    the index."""

    origins: tuple[str, ...]
    within: tuple[Doubt, ...]
    documents: int
    total: int

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.origins or self.within)


def find_stale(
    counts: Mapping[str, int],
    live: Collection[str],
    *,
    doubts: Sequence[Doubt] = (),
    within: Mapping[str, int],
) -> Stale:
    """What no live row accounts for. counts: documents by origin, live: origins; on Serverless
    taken once second copies are gone. within: stale ones of live origins, all in doubt. Pure."""
    gone = {name: count for name, count in counts.items() if name not in live}
    return Stale(
        origins=tuple(sorted(gone)),
        within=tuple(doubt for doubt in doubts if within.get(doubt.origin.name)),
        documents=sum(gone.values()) + sum(within.values()),
        total=sum(counts.values()),
    )


def objection(stale: Stale, *, rows: int, max_fraction: float) -> str | None:
    """Why nothing may be deleted; None: it may. rows: of the output. Pure."""
    if stale.documents and rows == 0:
        return (
            f"the output is empty, but the index holds {stale.total:,} documents; nothing was "
            "deleted: check input.uri, and delete the index if the corpus is really gone"
        )
    if is_over(stale.documents, stale.total, max_fraction):
        return (
            f"{stale.documents:,} of the index's {stale.total:,} documents are not in the output "
            "any more; nothing was deleted: check that the input is whole, or raise "
            f"refresh.max_delete_fraction (now {max_fraction:g}) and load again"
        )
    return None
