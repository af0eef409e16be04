"""Batches hold every text once within the budget, and each text gets its own vector back."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from embed_job.batch import EmbeddedWindow, Known, distinct, embed_windows, plan_batches, take
from embed_job.engine import Tokens, Vectors
from embed_job.engine.facts import EngineFacts


class SumEngine:
    """An engine whose vectors can be checked by hand: (first id, length, sum) of each text."""

    dimension = 3
    batch_tokens = 12
    facts = EngineFacts("sum", "CPU")

    def __init__(self, *, packs: bool = False, under_way: int = 1) -> None:
        self.packs = packs
        self.batches: list[list[list[int]]] = []
        self._under_way = under_way

    def embed(self, batch: Tokens) -> Vectors:
        texts = _lists(batch)
        self.batches.append(texts)
        return np.array([_vector(text) for text in texts], np.float32)

    def embed_each(self, batches: Iterable[Tokens]) -> Iterator[Vectors]:
        """So many batches are asked for before the first one's vectors are there."""
        waiting: list[Tokens] = []
        for batch in batches:
            waiting.append(batch)
            if len(waiting) == self._under_way:
                yield self.embed(waiting.pop(0))
        yield from map(self.embed, waiting)

    def padded_tokens(self, batch: Tokens) -> int:
        return len(batch.ids) if self.packs else len(batch) * int(batch.lengths.max())


@dataclass(frozen=True)
class Texts:
    """The least that can be embedded."""

    tokens: Tokens


def embed(
    texts: list[list[int]],
    engine: SumEngine,
    batch_tokens: int,
    on_batch: Callable[[int], None] = lambda _: None,
) -> EmbeddedWindow[Texts]:
    window = Texts(_tokens(texts))
    (embedded,) = embed_windows([window], engine, batch_tokens=batch_tokens, on_batch=on_batch)
    assert embedded.window is window
    return embedded


def _vector(text: list[int]) -> tuple[int, int, int]:
    return (text[0] if text else -1, len(text), sum(text))


def _tokens(texts: list[list[int]]) -> Tokens:
    offsets = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    return Tokens(np.array([i for text in texts for i in text], np.int32), offsets)


def _lists(tokens: Tokens) -> list[list[int]]:
    return [part.tolist() for part in np.split(tokens.ids, tokens.offsets[1:-1])]


TEXTS = st.lists(st.lists(st.integers(0, 3), max_size=7), min_size=1, max_size=60)
LENGTHS = st.lists(st.integers(0, 600), max_size=200).map(lambda n: np.array(n, np.int64))


@given(lengths=LENGTHS, batch_tokens=st.integers(1, 2048))
def test_each_text_is_in_one_batch_within_the_budget(
    lengths: npt.NDArray[np.int64], batch_tokens: int
) -> None:
    batches = plan_batches(lengths, batch_tokens=batch_tokens)
    order = [index for batch in batches for index in batch.tolist()]
    assert sorted(order) == list(range(len(lengths)))
    assert order == sorted(order, key=lambda index: (-lengths[index], index))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * lengths[batch].max() <= batch_tokens


@given(lengths=LENGTHS, batch_tokens=st.integers(1, 2048))
def test_no_batch_could_take_one_more_text(
    lengths: npt.NDArray[np.int64], batch_tokens: int
) -> None:
    batches = plan_batches(lengths, batch_tokens=batch_tokens)
    for batch in batches[:-1]:
        assert (len(batch) + 1) * max(1, lengths[batch].max()) > batch_tokens


@given(texts=TEXTS, data=st.data())
def test_take_is_indexing(texts: list[list[int]], data: st.DataObject) -> None:
    index = data.draw(st.lists(st.integers(0, len(texts) - 1), min_size=1))
    taken = take(_tokens(texts), np.array(index, np.int64))
    assert _lists(taken) == [texts[i] for i in index]
    assert taken.ids.dtype == np.int32
    assert taken.offsets.dtype == np.int64


@given(texts=TEXTS)
def test_each_kind_of_text_is_found_once(texts: list[list[int]]) -> None:
    firsts, inverse = distinct(_tokens(texts))
    assert [texts[i] for i in firsts[inverse]] == texts
    assert firsts.tolist() == sorted(firsts.tolist())
    kinds = [tuple(texts[i]) for i in firsts]
    assert len(set(kinds)) == len(kinds)
    assert all(texts.index(texts[i]) == i for i in firsts)


@given(texts=TEXTS, batch_tokens=st.integers(1, 40))
def test_vectors_come_back_in_the_order_given(texts: list[list[int]], batch_tokens: int) -> None:
    engine = SumEngine()
    told: list[int] = []
    embedded = embed(texts, engine, batch_tokens, told.append)
    assert embedded.vectors.dtype == np.float32
    assert embedded.vectors.tolist() == [list(map(float, _vector(text))) for text in texts]
    given = [text for batch in engine.batches for text in batch]
    assert sorted(given) == sorted(map(list, set(map(tuple, texts))))
    assert embedded.embedded_tokens == sum(map(len, given)) == sum(told)
    assert len(told) == len(engine.batches)
    padded = sum(len(batch) * max(map(len, batch)) for batch in engine.batches)
    assert embedded.padded_tokens == padded >= embedded.embedded_tokens


def test_the_longest_texts_go_first() -> None:
    engine = SumEngine()
    embed([[1], [2] * 9, [3] * 4], engine, 9)
    assert [[len(text) for text in batch] for batch in engine.batches] == [[9], [4, 1]]


def test_no_text_is_no_batch() -> None:
    embedded = embed([], SumEngine(), 8)
    assert embedded.vectors.shape == (0, 3)
    assert embedded.padded_tokens == 0


def test_memory_beyond_tokens_and_vectors_is_small() -> None:
    texts = 40_000
    ids = np.arange(texts * 16, dtype=np.int32)
    tokens = Tokens(ids, np.arange(texts + 1, dtype=np.int64) * 16)

    class Flat(SumEngine):
        dimension = 256

        def embed(self, batch: Tokens) -> Vectors:
            return np.zeros((len(batch), 256), np.float32)

    tracemalloc.start()
    (embedded,) = embed_windows([Texts(tokens)], Flat(), batch_tokens=2048)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < embedded.vectors.nbytes + 8 * tokens.ids.nbytes


@given(lengths=LENGTHS, batch_tokens=st.integers(1, 2048))
def test_where_nothing_is_padded_a_batch_is_cut_by_its_sum(
    lengths: npt.NDArray[np.int64], batch_tokens: int
) -> None:
    batches = plan_batches(lengths, batch_tokens=batch_tokens, packs=True)
    order = [index for batch in batches for index in batch.tolist()]
    assert order == sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    counted = np.maximum(lengths, 1)  # a text without tokens takes a row nonetheless
    assert all(len(batch) == 1 or counted[batch].sum() <= batch_tokens for batch in batches)
    for batch, after in pairwise(batches):
        assert counted[batch].sum() + counted[after[0]] > batch_tokens


@given(
    windows=st.lists(st.lists(st.lists(st.integers(0, 3), max_size=7), max_size=12), max_size=6),
    under_way=st.integers(1, 4),
    packs=st.booleans(),
)
def test_windows_come_in_their_order_however_many_batches_are_under_way(
    windows: list[list[list[int]]], under_way: int, packs: bool
) -> None:
    engine = SumEngine(packs=packs, under_way=under_way)
    given_windows = [Texts(_tokens(texts)) for texts in windows]
    done = list(embed_windows(given_windows, engine, batch_tokens="auto"))
    assert [one.window for one in done] == given_windows
    for texts, one in zip(windows, done, strict=True):
        assert one.vectors.tolist() == [list(map(float, _vector(text))) for text in texts]
        assert one.embedded_tokens == sum(map(len, set(map(tuple, texts))))
    for batch in engine.batches:
        size = sum(map(len, batch)) if packs else len(batch) * max(map(len, batch))
        assert len(batch) == 1 or size <= engine.batch_tokens


def test_a_window_is_read_when_its_first_batch_is_due() -> None:
    read: list[int] = []

    def windows() -> Iterator[Texts]:
        for number in range(4):
            read.append(number)
            yield Texts(_tokens([[number]]))

    embedding = embed_windows(windows(), SumEngine(), batch_tokens=8)
    for number, _ in enumerate(embedding):
        assert read == list(range(number + 1))


@given(
    is_new=st.lists(st.booleans(), max_size=40),
    under_way=st.integers(1, 4),
)
def test_known_windows_are_handed_on_before_many_more_are_read(
    is_new: list[bool], under_way: int
) -> None:
    read: list[Texts] = []

    def windows() -> Iterator[Texts]:
        for number in range(len(is_new)):
            read.append(Texts(_tokens([[number]])))
            yield read[-1]

    def known(window: Texts) -> Known | None:
        number = int(window.tokens.ids[0])
        return None if is_new[number] else Known(np.array([0]), np.ones((1, 3), np.float32))

    handed_on: list[Texts] = []
    engine = SumEngine(under_way=under_way)
    for done in embed_windows(windows(), engine, batch_tokens=8, known=known):
        handed_on.append(done.window)
        assert len(read) - len(handed_on) <= under_way + 4
    assert handed_on == read
    assert len(read) == len(is_new)
    assert sum(map(len, engine.batches)) == sum(is_new)


@given(
    windows=st.lists(
        st.lists(st.tuples(st.lists(st.integers(0, 3), max_size=5), st.booleans()), max_size=9),
        max_size=9,
    ),
    under_way=st.integers(1, 3),
)
def test_texts_whose_vector_is_known_are_not_given_to_the_engine(
    windows: list[list[tuple[list[int], bool]]], under_way: int
) -> None:
    given_windows = [Texts(_tokens([text for text, _ in texts])) for texts in windows]
    places = {
        id(window): np.flatnonzero([is_known for _, is_known in texts])
        for window, texts in zip(given_windows, windows, strict=True)
    }

    def known(window: Texts) -> Known | None:
        found = places[id(window)]
        vectors = np.repeat(found[:, None], 3, axis=1).astype(np.float32) + 100
        return Known(found, vectors) if len(found) else None

    engine = SumEngine(under_way=under_way)
    done = list(embed_windows(given_windows, engine, batch_tokens="auto", known=known))
    for texts, one in zip(windows, done, strict=True):
        new = [tuple(text) for text, is_known in texts if not is_known]
        assert one.known.tolist() == [at for at, (_, is_known) in enumerate(texts) if is_known]
        assert (one.embedded_texts, one.embedded_tokens) == (len(set(new)), sum(map(len, set(new))))
        assert one.vectors.tolist() == [
            [100.0 + at] * 3 if is_known else list(map(float, _vector(text)))
            for at, (text, is_known) in enumerate(texts)
        ]
    embedded = sum(len(batch) for batch in engine.batches)
    assert embedded == sum(one.embedded_texts for one in done)
