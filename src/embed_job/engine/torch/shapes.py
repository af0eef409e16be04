"""Shapes of batches, rounded up to a few, so that compiled code and memory are used again."""

from __future__ import annotations

from dataclasses import dataclass

from embed_job.engine import Tokens

_LEAST_TOKENS = 64
_LEAST_TEXTS = 8
_LONGEST_STEP = 64
"""Rows of one block of a flash attention kernel: a longest text in between saves it nothing."""
_PADDED_STEP = 8
"""Where attention pads, its cost grows with the longest text."""


@dataclass(frozen=True, slots=True)
class Shape:
    """tokens: of the flat ids; texts: rows of vectors; longest: no text is longer."""

    tokens: int
    texts: int
    longest: int


def shape_of(batch: Tokens, *, max_tokens: int, packs: bool) -> Shape:
    """The shape that a batch of one text at least is computed in.

    packs: whether attention works without padding, so that rows without a text cost it next to
    nothing. Tokens, and rows of an engine that pads, are rounded up by an eighth at most.
    """
    longest = int(batch.lengths.max())
    step = _LONGEST_STEP if packs else _PADDED_STEP
    return Shape(
        tokens=_rounded(len(batch.ids), least=_LEAST_TOKENS, sizes=8),
        texts=_rounded(len(batch), least=_LEAST_TEXTS, sizes=2) if packs else len(batch),
        longest=min(max_tokens, max(step, -(-longest // step) * step)),
    )


def _rounded(number: int, *, least: int, sizes: int) -> int:
    """Up to one of so many sizes between a power of two and the next one; least at least."""
    step = max(1, (1 << (max(1, number) - 1).bit_length()) // 2 // sizes)
    return max(least, -(-number // step) * step)
