"""Windows to vectors: each distinct text once, sorted by length, cut by a token budget."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from embed_job.engine import Engine, Tokens, Vectors

Indices = npt.NDArray[np.int64]

_HELD_WINDOWS = 4
"""Windows that wait for others before them while further ones turn out to be known."""


class HasTokens(Protocol):
    """Whatever has texts to embed: a window, in a job."""

    @property
    def tokens(self) -> Tokens: ...


W = TypeVar("W", bound=HasTokens)


@dataclass(frozen=True, slots=True)
class Known:
    """Vectors that need not be computed. places: which texts they are of, int64 [k], ascending;
    vectors: float32 [k, dimension]."""

    places: Indices
    vectors: Vectors


def _nothing(_: object) -> None:
    """Of no text is a vector known."""


@dataclass(frozen=True, slots=True)
class EmbeddedWindow(Generic[W]):
    """vectors: float32 [texts, dimension], in the order of the texts given.

    embedded_texts, embedded_tokens: distinct texts whose vector was not known, which alone go
    through the model, and their tokens. padded_tokens: what the model was given for them, padding
    included. known: the texts whose vector was, int64 [k].
    """

    window: W
    vectors: Vectors
    embedded_texts: int
    embedded_tokens: int
    padded_tokens: int
    known: Indices


def embed_windows(
    windows: Iterable[W],
    engine: Engine,
    *,
    batch_tokens: Literal["auto"] | int,
    on_batch: Callable[[int], None] = lambda _: None,
    known: Callable[[W], Known | None] = _nothing,
) -> Generator[EmbeddedWindow[W], None, None]:
    """Each window with the vectors of its texts, in their order.

    The engine is given batch after batch across windows, so that one with several under way never
    runs dry between two; a window is read when its first batch is due. on_batch is told the tokens
    of each batch once it is embedded. known: the vectors of a window that there are already.
    Beyond tokens and vectors, memory is that of the batches under way.
    """
    left, begun = iter(windows), deque[_Begun[W]]()
    is_over = False

    def batches() -> Iterator[Tokens]:
        nonlocal is_over
        for window in left:
            budget = engine.batch_tokens if batch_tokens == "auto" else batch_tokens
            mine = _Begun(window, known(window), engine, budget)
            begun.append(mine)
            if mine.needs_engine:
                yield from mine.batches()
            elif len(begun) >= _HELD_WINDOWS:
                return  # else a corpus that is known would be read whole before it is handed on
        is_over = True

    while not is_over:
        for vectors in engine.embed_each(batches()):
            yield from _complete(begun)  # those without any text
            on_batch(begun[0].put(vectors))
            yield from _complete(begun)
        yield from _complete(begun)


def _complete(begun: deque[_Begun[W]]) -> Iterator[EmbeddedWindow[W]]:
    """Those at the head that wait for no more vectors, which are taken off."""
    while begun and begun[0].is_complete:
        yield begun.popleft().embedded()


class _Begun(Generic[W]):
    """A window whose batches are on their way."""

    def __init__(self, window: W, known: Known | None, engine: Engine, batch_tokens: int) -> None:
        tokens = window.tokens
        self._known = known
        self._is_new = np.ones(len(tokens), dtype=np.bool_)
        if known is not None:
            self._is_new[known.places] = False
            tokens = take(tokens, np.flatnonzero(self._is_new))
        firsts, self._inverse = distinct(tokens)
        self._is_distinct = len(firsts) == len(tokens)
        unique = tokens if self._is_distinct else take(tokens, firsts)
        self._window = window
        self._engine = engine
        self._plan = plan_batches(unique.lengths, batch_tokens=batch_tokens, packs=engine.packs)
        # All texts are gathered once, in batch order: a gather for each batch costs 2 µs a short
        # text.
        self._ordered = take(unique, np.concatenate([np.empty(0, np.int64), *self._plan]))
        self._vectors = np.empty((len(unique), engine.dimension), dtype=np.float32)
        self._padded_tokens = 0
        self._done = 0
        self._given: deque[Tokens] = deque()

    def batches(self) -> Iterator[Tokens]:
        begin = 0
        for index in self._plan:
            offsets = self._ordered.offsets[begin : begin + len(index) + 1]
            first, last = offsets[0], offsets[-1]
            batch = Tokens(ids=self._ordered.ids[first:last], offsets=offsets - first)
            self._given.append(batch)
            yield batch
            begin += len(index)

    def put(self, vectors: Vectors) -> int:
        """The vectors of the next batch; its tokens."""
        batch = self._given.popleft()
        self._vectors[self._plan[self._done]] = vectors
        self._padded_tokens += self._engine.padded_tokens(batch)
        self._done += 1
        return len(batch.ids)

    @property
    def needs_engine(self) -> bool:
        """Whether it has texts of which no vector is known."""
        return bool(self._plan)

    @property
    def is_complete(self) -> bool:
        return self._done == len(self._plan)

    def embedded(self) -> EmbeddedWindow[W]:
        vectors = self._vectors if self._is_distinct else self._vectors[self._inverse]
        places = np.flatnonzero(~self._is_new)
        if self._known is not None:
            computed = vectors
            vectors = np.empty((len(self._is_new), computed.shape[1]), dtype=np.float32)
            vectors[self._is_new] = computed
            vectors[places] = self._known.vectors
        return EmbeddedWindow(
            window=self._window,
            vectors=vectors,
            known=places,
            embedded_texts=len(self._vectors),
            embedded_tokens=len(self._ordered.ids),
            padded_tokens=self._padded_tokens,
        )


def plan_batches(
    lengths: npt.NDArray[np.int64], *, batch_tokens: int, packs: bool = False
) -> list[Indices]:
    """Indices of texts by batch; each text in exactly one. lengths: tokens, int64 [texts].

    Longest first, so that a lack of memory shows at once; texts of equal length keep their order.
    A batch holds texts while rows x its longest text <= batch_tokens, or where the engine packs
    while the sum of their tokens is, and one text at least.
    """
    order = np.argsort(-lengths, kind="stable")
    sums = np.cumsum(np.maximum(lengths[order], 1))
    batches = []
    begin = 0
    while begin < len(order):
        if packs:
            before = int(sums[begin - 1]) if begin else 0
            fitting = int(np.searchsorted(sums, before + batch_tokens, side="right")) - begin
        else:
            fitting = batch_tokens // max(1, int(lengths[order[begin]]))
        batches.append(order[begin : begin + max(1, fitting)])
        begin += max(1, fitting)
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
