"""Two rankings made one."""

from __future__ import annotations

from collections.abc import Sequence

SMOOTHING = 60


def fuse(rankings: Sequence[Sequence[str]]) -> list[str]:
    """Ids in the order of all rankings together, by reciprocal rank fusion.

    An id's worth is the sum of 1 / (60 + rank) over the rankings that hold it, ranks from 1
    (Cormack, Clarke and Buettcher, SIGIR 2009): scores of unlike kinds are never compared. Of
    equals, what came first stays first.
    """
    worth: dict[str, float] = {}
    for ranking in rankings:
        for rank, name in enumerate(ranking, start=1):
            worth[name] = worth.get(name, 0.0) + 1 / (SMOOTHING + rank)
    return sorted(worth, key=lambda name: -worth[name])
