"""Batches cut in two until they fit."""

from __future__ import annotations

from collections.abc import Iterator

from embed_job.engine import Tokens


def cost_of(batch: Tokens, *, packs: bool) -> int:
    """What counts against a budget of tokens: the batch's own, or those with padding."""
    return len(batch.ids) if packs else len(batch) * int(batch.lengths.max(initial=0))


def halves(batch: Tokens) -> tuple[Tokens, Tokens]:
    """A batch of two texts or more as two of about as many tokens each, neither without a text."""
    middle = int(batch.offsets.searchsorted(len(batch.ids) // 2))
    at = min(max(1, middle), len(batch) - 1)
    cut = batch.offsets[at]
    first = Tokens(batch.ids[:cut], batch.offsets[: at + 1])
    return first, Tokens(batch.ids[cut:], batch.offsets[at:] - cut)


def pieces(batch: Tokens, budget: int, *, packs: bool) -> Iterator[Tokens]:
    """The batch in pieces of its order, each within the budget or a single text."""
    if len(batch) < 2 or cost_of(batch, packs=packs) <= budget:
        yield batch
        return
    for half in halves(batch):
        yield from pieces(half, budget, packs=packs)
