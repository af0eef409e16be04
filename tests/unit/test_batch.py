"""Batches hold every text once within the budget, and each text gets its own vector back."""

from __future__ import annotations

import tracemalloc

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from embed_job.batch import distinct, embed_window, plan_batches, take
from embed_job.engine import Tokens, Vectors


class SumEngine:
    """An engine whose vectors can be checked by hand: (first id, length, sum) of each text."""

    dimension = 3

    def __init__(self) -> None:
        self.batches: list[list[list[int]]] = []

    def embed(self, batch: Tokens) -> Vectors:
        texts = _lists(batch)
        self.batches.append(texts)
        return np.array([_vector(text) for text in texts], np.float32)

    def padded_tokens(self, batch: Tokens) -> int:
        return len(batch) * int(batch.lengths.max())


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
    embedded = embed_window(_tokens(texts), engine, batch_tokens=batch_tokens, on_batch=told.append)
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
    embed_window(_tokens([[1], [2] * 9, [3] * 4]), engine, batch_tokens=9)
    assert [[len(text) for text in batch] for batch in engine.batches] == [[9], [4, 1]]


def test_no_text_is_no_batch() -> None:
    embedded = embed_window(_tokens([]), SumEngine(), batch_tokens=8)
    assert embedded.vectors.shape == (0, 3)
    assert embedded.padded_tokens == 0


def test_memory_beyond_tokens_and_vectors_is_small() -> None:
    texts = 40_000
    ids = np.arange(texts * 16, dtype=np.int32)
    tokens = Tokens(ids, np.arange(texts + 1, dtype=np.int64) * 16)

    class Flat:
        dimension = 256

        def embed(self, batch: Tokens) -> Vectors:
            return np.zeros((len(batch), 256), np.float32)

        def padded_tokens(self, batch: Tokens) -> int:
            return len(batch.ids)

    tracemalloc.start()
    embedded = embed_window(tokens, Flat(), batch_tokens=2048)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < embedded.vectors.nbytes + 8 * tokens.ids.nbytes
