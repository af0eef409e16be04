"""The whole forward pass in int8: against numpy's, on all instruction sets, in any batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest

from embed_job.bundle import Bundle
from embed_job.bundle.build import build_bundle
from embed_job.bundle.golden import cosines
from embed_job.bundle.recipe import Recipe, read_recipe
from embed_job.bundle.reference import Matrix, Reference
from embed_job.engine import Tokens, Vectors
from embed_job.engine.native import NativeEngine
from embed_job.engine.native.library import runnable_variants
from embed_job.engine.native.pack_int8 import quantise_columns

Ids = Sequence[Sequence[int]]
TEXTS: Ids = (
    [2, 7, 8, 9, 3],
    [2, 3],
    [2, *range(6, 50), 3],
    [2, *range(90, 60, -1), 3],
    [2, 11, 11, 11, 3],
)


class QuantisedReference(Reference):
    """The plain forward pass, with the operands of the layers' products rounded to 8 bits."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        self._rounded: dict[str, Matrix] = {}

    def _linear(self, x: Matrix, name: str) -> Matrix:
        if name not in self._rounded:
            weight = self._get(f"{name}.weight").T.astype(np.float32)
            numbers, scales = quantise_columns(weight)
            self._rounded[name] = numbers * scales.astype(np.float64)
        product: Matrix = _rounded_rows(x) @ self._rounded[name] + self._get(f"{name}.bias")
        return product


def _rounded_rows(x: Matrix) -> Matrix:
    low, high = np.minimum(x.min(axis=1), 0), np.maximum(x.max(axis=1), 0)
    step = ((high - low) / 255)[:, None]
    zero = np.rint(low[:, None] / step)
    rounded: Matrix = np.minimum(np.rint(x / step), zero + 255) * step
    return rounded


def tokens(texts: Ids) -> Tokens:
    flat = [token for text in texts for token in text]
    return Tokens(np.array(flat, np.int32), np.cumsum([0, *map(len, texts)], dtype=np.int64))


@pytest.fixture(scope="module", params=["bert", "roberta", "mpnet", "distilbert"])
def model(
    request: pytest.FixtureRequest,
    tiny_models: ModuleType,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Bundle]:
    folder = tmp_path_factory.mktemp(request.param)
    source: Path = tiny_models.write_model(folder / "model", request.param)
    return source, build_bundle(str(source), folder / "bundle").bundle


def embed(bundle: Bundle, texts: Ids, *, variant: str) -> Vectors:
    return NativeEngine(bundle, precision="int8", threads=1, variant=variant).embed(tokens(texts))


def by_reference(reference: Reference) -> npt.NDArray[np.float32]:
    return np.stack([reference.embed(text) for text in TEXTS])


@pytest.mark.parametrize("variant", runnable_variants())
def test_it_rounds_where_the_scheme_says_and_nowhere_else(
    model: tuple[Path, Bundle], variant: str
) -> None:
    source, bundle = model
    recipe = read_recipe(source)
    exact, rounded = by_reference(Reference(recipe)), by_reference(QuantisedReference(recipe))
    found = embed(bundle, TEXTS, variant=variant)
    assert cosines(found, rounded).min() > 0.99999
    assert cosines(exact, rounded).max() < 0.9999, "rounding shows"


@pytest.mark.parametrize("variant", runnable_variants())
def test_a_batch_changes_no_bit(model: tuple[Path, Bundle], variant: str) -> None:
    _, bundle = model
    together = embed(bundle, TEXTS, variant=variant)
    for text, vector in zip(TEXTS, together, strict=True):
        assert np.array_equal(embed(bundle, [text], variant=variant)[0], vector)


def test_no_instruction_set_changes_a_bit(model: tuple[Path, Bundle]) -> None:
    """Else a last bit that another order of sums changed would grow to whole steps of codes."""
    _, bundle = model
    found = [embed(bundle, TEXTS, variant=variant) for variant in runnable_variants()]
    for other in found[1:]:
        assert np.array_equal(found[0], other)
