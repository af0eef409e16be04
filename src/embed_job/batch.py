"""A window's texts to vectors: each distinct text once, sorted by length, cut by a token budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from embed_job.engine import Engine, Tokens, Vectors

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class EmbeddedWindow:
    """vectors: float32 [texts, dimension], in the order of the texts given.

    embedded_tokens: those of distinct texts, which alone go through the model. padded_tokens:
    what the model was given for them, padding included.
    """

    vectors: Vectors
    embedded_tokens: int
    padded_tokens: int


def embed_window(
    tokens: Tokens,
    engine: Engine,
    *,
    batch_tokens: int,
    on_batch: Callable[[int], None] | None = None,
) -> EmbeddedWindow:
    """Vectors of a window's texts. on_batch is told the tokens of each batch once it is embedded.

    Beyond tokens and vectors, memory is that of one batch.
    """
    firsts, inverse = distinct(tokens)
    unique = tokens if len(firsts) == len(tokens) else take(tokens, firsts)
    vectors = np.empty((len(unique), engine.dimension), dtype=np.float32)
    padded_tokens = 0
    for index, batch in _batches(unique, batch_tokens):
        vectors[index] = engine.embed(batch)
        padded_tokens += engine.padded_tokens(batch)
        if on_batch is not None:
            on_batch(len(batch.ids))
    return EmbeddedWindow(
        vectors=vectors if unique is tokens else vectors[inverse],
        embedded_tokens=len(unique.ids),
        padded_tokens=padded_tokens,
    )


def _batches(tokens: Tokens, batch_tokens: int) -> Iterator[tuple[Indices, Tokens]]:
    """Each batch with the indices of its texts. All texts are gathered once, in batch order: a
    gather for each batch costs 2 µs a short text."""
    plan = plan_batches(tokens.lengths, batch_tokens=batch_tokens)
    ordered = take(tokens, np.concatenate([np.empty(0, np.int64), *plan]))
    begin = 0
    for index in plan:
        offsets = ordered.offsets[begin : begin + len(index) + 1]
        first, last = offsets[0], offsets[-1]
        yield index, Tokens(ids=ordered.ids[first:last], offsets=offsets - first)
        begin += len(index)


def plan_batches(lengths: npt.NDArray[np.int64], *, batch_tokens: int) -> list[Indices]:
    """Indices of texts by batch; each text in exactly one. lengths: tokens, int64 [texts].

    Longest first, so that a lack of memory shows at once; texts of equal length keep their order.
    A batch holds texts while rows x its longest text <= batch_tokens, and one text at least.
    """
    order = np.argsort(-lengths, kind="stable")
    batches = []
    begin = 0
    while begin < len(order):
        longest = max(1, int(lengths[order[begin]]))
        end = begin + max(1, batch_tokens // longest)
        batches.append(order[begin:end])
        begin = end
    return batches


def take(tokens: Tokens, index: Indices) -> Tokens:
    """Some texts, in the order of index, int64 [n]; an index may occur again."""
    starts = tokens.offsets[index]
    lengths = tokens.offsets[index + 1] - starts
    offsets = np.zeros(len(index) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    gather = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
    return Tokens(ids=tokens.ids[gather], offsets=offsets)


def distinct(tokens: Tokens) -> tuple[Indices, Indices]:
    """The first text of each kind, ascending, and for each text the number of its kind.

    Texts are of one kind where their token ids are the same. ``firsts[inverse[i]]`` is the text
    that stands for text i.
    """
    data = tokens.ids.tobytes()
    size = tokens.ids.itemsize
    ends = (tokens.offsets * size).tolist()
    kinds: dict[bytes, int] = {}
    inverse = [kinds.setdefault(data[begin:end], len(kinds)) for begin, end in pairwise(ends)]
    numbers = np.array(inverse, dtype=np.int64)
    firsts = np.unique(numbers, return_index=True)[1].astype(np.int64)
    return firsts, numbers
