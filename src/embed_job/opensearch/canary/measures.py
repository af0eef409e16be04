"""How alike two rankings are, and how good one is. Pure.

nDCG is that of Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", ACM
Transactions on Information Systems 20(4), 2002, pages 422-446, with logarithms of base 2: a gain
counts whole at the ranks 1 and 2, and is divided by log2 of its rank from there on. Gains are the
grades themselves.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

TOP = 10
"""Documents of an answer that count."""


def overlap(one: Sequence[str], other: Sequence[str]) -> float:
    """Which share of the longer answer's first TOP documents is in both; 1 where both are empty.

    Documents are named once in each.
    """
    left, right = set(one[:TOP]), set(other[:TOP])
    longer = max(len(left), len(right))
    return len(left & right) / longer if longer else 1.0


def dcg(gains: Iterable[float]) -> float:
    """The discounted cumulated gain of gains by rank, the best rank first."""
    return sum(gain / max(1.0, math.log2(rank)) for rank, gain in enumerate(gains, 1))


def ndcg(documents: Sequence[str], grades: Mapping[str, float]) -> float | None:
    """dcg of the first TOP documents as a share of the best that the grades allow.

    A document without a grade gains nothing. None where no grade is above 0.
    """
    ideal = dcg(sorted(grades.values(), reverse=True)[:TOP])
    if ideal == 0:
        return None
    return dcg(grades.get(name, 0.0) for name in documents[:TOP]) / ideal
