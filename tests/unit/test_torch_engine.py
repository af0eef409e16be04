"""The torch engine around its model: shapes, slots, too little memory, a compiler that fails."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embed_job.bundle import Bundle, open_bundle
from embed_job.engine import Tokens, Vectors
from embed_job.engine.torch.memory import cost_of, halves, pieces
from embed_job.engine.torch.shapes import shape_of

torch = pytest.importorskip("torch")

NO_ROOM = torch.OutOfMemoryError("no room")
NO_ROOM_FOR_CUBLAS = RuntimeError(
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
)
LENGTHS = st.lists(st.integers(1, 48), min_size=1, max_size=40)


def tokens_of(lengths: list[int]) -> Tokens:
    offsets = np.cumsum([0, *lengths]).astype(np.int64)
    return Tokens(np.arange(3, 3 + offsets[-1], dtype=np.int32), offsets)


def lists(batch: Tokens) -> list[list[int]]:
    return [part.tolist() for part in np.split(batch.ids, batch.offsets[1:-1])]


class SumModel:
    """(length, sum of the ids) of each text, in at most so many tokens at a time."""

    dimension = 2
    capturable = True

    def __init__(
        self, *, pads: bool = False, room: int = 10_000, refusal: RuntimeError = NO_ROOM
    ) -> None:
        self.pads = pads
        self.room = room
        self.refusal = refusal
        self.shapes: list[tuple[int, int, int]] = []

    def __call__(self, ids: torch.Tensor, bounds: torch.Tensor, longest: int) -> torch.Tensor:
        rows = len(bounds) - 1
        self.shapes.append((len(ids), rows, longest))
        if (rows * longest if self.pads else int(bounds[-1])) > self.room:
            raise self.refusal
        sums = torch.cat([torch.zeros(1, dtype=torch.int64), ids.long().cumsum(0)])
        bounds = bounds.long()
        lengths = bounds[1:] - bounds[:-1]
        assert int(lengths.max()) <= longest
        return torch.stack([lengths, sums[bounds[1:]] - sums[bounds[:-1]]], dim=1).float()


def expected(batch: Tokens) -> list[list[float]]:
    return [[float(len(text)), float(sum(text))] for text in lists(batch)]


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return open_bundle(tiny_bundle)


@pytest.fixture(scope="module")
def make_engine(bundle: Bundle) -> Callable[[SumModel], object]:
    from embed_job.engine.torch import TorchEngine

    return lambda model: TorchEngine(bundle, precision="fp32", threads=1, model=model)


@given(lengths=LENGTHS, packs=st.booleans())
def test_a_shape_holds_its_batch_and_is_one_of_a_few(lengths: list[int], packs: bool) -> None:
    batch = tokens_of(lengths)
    shape = shape_of(batch, max_tokens=48, packs=packs)
    assert len(batch.ids) <= shape.tokens <= max(64, 1.125 * len(batch.ids))
    assert len(batch) <= shape.texts
    assert max(lengths) <= shape.longest <= 48
    if not packs:
        assert shape.texts == len(batch)  # a row more would be computed


def test_batches_of_a_budget_share_their_shape() -> None:
    sizes = range(57_408, 65_537, 512)
    shapes = {
        shape_of(tokens_of([64] * (n // 64)), max_tokens=256, packs=True).tokens for n in sizes
    }
    assert shapes == {61_440, 65_536}


@given(lengths=LENGTHS, budget=st.integers(1, 200), packs=st.booleans())
def test_pieces_hold_every_text_in_its_order(lengths: list[int], budget: int, packs: bool) -> None:
    batch = tokens_of(lengths)
    found = list(pieces(batch, budget, packs=packs))
    assert [text for piece in found for text in lists(piece)] == lists(batch)
    assert all(len(piece) == 1 or cost_of(piece, packs=packs) <= budget for piece in found)


@given(lengths=st.lists(st.integers(1, 48), min_size=2, max_size=40))
def test_halves_are_never_empty(lengths: list[int]) -> None:
    first, second = halves(tokens_of(lengths))
    assert len(first)
    assert len(second)
    assert lists(first) + lists(second) == lists(tokens_of(lengths))


@pytest.mark.parametrize("pads", [False, True])
def test_vectors_come_in_the_order_of_the_batches(make_engine: Callable, pads: bool) -> None:
    engine = make_engine(SumModel(pads=pads))
    batches = [tokens_of([n + 1] * (n + 1)) for n in range(12)]
    found = list(engine.embed_each(batches))
    assert [one.tolist() for one in found] == [expected(batch) for batch in batches]
    assert engine.packs is not pads


def test_a_slot_is_used_again_after_a_larger_and_by_a_smaller_batch(make_engine: Callable) -> None:
    engine = make_engine(SumModel())
    kept = [(batch, engine.embed(batch)) for batch in map(tokens_of, ([3], [40] * 30, [1, 2]))]
    for batch, vectors in kept:
        assert vectors.dtype == np.float32
        assert vectors.tolist() == expected(batch)


def test_no_text_has_no_vectors(make_engine: Callable) -> None:
    engine = make_engine(SumModel())
    empty = Tokens(np.empty(0, np.int32), np.zeros(1, np.int64))
    assert engine.embed(empty).shape == (0, 2)
    assert engine.padded_tokens(empty) == 0


def test_a_text_that_is_too_long_for_the_model_is_refused(make_engine: Callable) -> None:
    with pytest.raises(ValueError, match="49 tokens, 48 at most"):
        make_engine(SumModel()).embed(tokens_of([1, 49]))


@pytest.mark.parametrize("refusal", [NO_ROOM, NO_ROOM_FOR_CUBLAS])
@pytest.mark.parametrize("pads", [False, True])
def test_a_batch_too_large_for_memory_is_halved_and_remembered_and_told_once(
    make_engine: Callable, caplog: pytest.LogCaptureFixture, pads: bool, refusal: RuntimeError
) -> None:
    model = SumModel(pads=pads, room=150, refusal=refusal)
    engine = make_engine(model)
    batches = [tokens_of([16] * 32), tokens_of([8] * 50), tokens_of([40, 3, 2])]
    with caplog.at_level(logging.WARNING):
        found = [vectors.tolist() for vectors in engine.embed_each(batches)]
    assert found == [expected(batch) for batch in batches]
    assert engine.batch_tokens == 128
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith("GPU memory is too small for batches of 512 tokens")
    failures = len(model.shapes)
    engine.embed(tokens_of([8] * 50))
    assert len(model.shapes) - failures == 4  # none of them fails


def test_a_text_that_does_not_fit_alone_is_an_error_and_the_engine_goes_on(
    make_engine: Callable,
) -> None:
    engine = make_engine(SumModel(room=20))
    with pytest.raises(torch.OutOfMemoryError):
        engine.embed(tokens_of([4, 30, 4]))
    batch = tokens_of([4, 4])
    assert engine.embed(batch).tolist() == expected(batch)


def test_an_error_that_is_not_of_memory_is_told_at_once(make_engine: Callable) -> None:
    engine = make_engine(SumModel(room=20, refusal=RuntimeError("CUBLAS_STATUS_NOT_SUPPORTED")))
    with pytest.raises(RuntimeError, match="NOT_SUPPORTED"):
        engine.embed(tokens_of([15, 15]))


def test_what_was_left_under_way_does_not_reach_the_next_caller(make_engine: Callable) -> None:
    engine = make_engine(SumModel())
    abandoned = engine.embed_each(map(tokens_of, ([5], [6], [7])))
    next(abandoned)
    abandoned.close()
    batch = tokens_of([2, 3])
    assert engine.embed(batch).tolist() == expected(batch)


def test_a_model_that_can_not_be_compiled_runs_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    from embed_job.engine.torch.compiled import Compiled

    def compiler(_: SumModel) -> Callable[..., Vectors]:
        def fail(*_: object) -> Vectors:
            raise RuntimeError("no compiler\nand more of it")

        return fail

    model = SumModel()
    compiled = Compiled(model, compiler=compiler)
    ids, bounds = torch.arange(64, dtype=torch.int32), torch.tensor([0, 2, 5], dtype=torch.int32)
    with caplog.at_level(logging.WARNING):
        first, second = compiled(ids, bounds, 8), compiled(ids, bounds, 8)
    assert first.tolist() == second.tolist() == [[2, 1], [3, 9]]
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.endswith(": no compiler")


def test_too_little_memory_is_not_a_reason_to_give_the_compiled_model_up() -> None:
    from embed_job.engine.torch.compiled import Compiled

    runs: Iterator[bool] = iter([False, True])

    def compiler(model: SumModel) -> Callable[..., Vectors]:
        def run(*arguments: torch.Tensor) -> torch.Tensor:
            if not next(runs):
                raise torch.OutOfMemoryError("no room")
            return model(*arguments)

        return run

    compiled = Compiled(SumModel(), compiler=compiler)
    ids, bounds = torch.arange(64, dtype=torch.int32), torch.tensor([0, 2], dtype=torch.int32)
    with pytest.raises(torch.OutOfMemoryError):
        compiled(ids, bounds, 8)
    assert compiled(ids, bounds, 8).tolist() == [[2, 1]]
    assert next(runs, None) is None
