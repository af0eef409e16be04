"""Documents that the output no longer holds, and whether so many may be deleted. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from embed_job.opensearch.load.presence import split_field
from embed_job.opensearch.load.reconcile import Difference


@dataclass(frozen=True, slots=True)
class Stale:
    """What is to go. splits: of documents whose split is not live any more, as in their field;
    surplus: live splits that hold documents of an earlier attempt as well; documents: how many of
    both; total: of the index."""

    splits: tuple[str, ...]
    surplus: tuple[Difference, ...]
    documents: int
    total: int

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.splits or self.surplus)


def find_stale(
    counts: Mapping[str, int], live: Sequence[str], surplus: Sequence[Difference]
) -> Stale:
    """What no live split accounts for. counts: documents by the field `split`; on Serverless taken
    once second copies are gone. Pure."""
    fields = set(map(split_field, live))
    gone = {split: count for split, count in counts.items() if split not in fields}
    excess = sum(one.found - one.receipt.counts.written for one in surplus)
    return Stale(
        splits=tuple(sorted(gone)),
        surplus=tuple(surplus),
        documents=sum(gone.values()) + excess,
        total=sum(counts.values()),
    )


def objection(stale: Stale, *, rows: int, max_fraction: float) -> str | None:
    """Why nothing may be deleted; None: it may. rows: of the output. Pure."""
    if stale.documents and rows == 0:
        return (
            f"the output is empty, but the index holds {stale.total:,} documents; nothing was "
            "deleted: check input.uri, and delete the index if the corpus is really gone"
        )
    if stale.documents > max_fraction * stale.total:
        return (
            f"{stale.documents:,} of the index's {stale.total:,} documents are not in the output "
            "any more; nothing was deleted: check that the input is whole, or raise "
            f"gates.max_delete_fraction (now {max_fraction:g}) and load again"
        )
    return None
