"""Batches cut in two until they fit."""

from __future__ import annotations

from collections.abc import Iterator

from embed_job.engine import Tokens

_NO_ROOM = "CUBLAS_STATUS_ALLOC_FAILED"
"""cuBLAS takes memory of its own, past torch's allocator, and torch repeats its answer as it is."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error of torch says that the device's memory is too small."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or _NO_ROOM in str(error)


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
