"""The pipeline on a real GPU; passed over where there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embed_job.batch import take
from embed_job.bundle import open_bundle
from embed_job.bundle.golden_texts import golden_texts
from embed_job.engine import Engine, Tokens, load_engine
from embed_job.engine.onnx import OnnxEngine
from embed_job.engine.torch import has_gpu
from embed_job.spec import ModelSpec
from embed_job.tokenizer import Tokenizer

pytestmark = pytest.mark.skipif(not has_gpu(), reason="no GPU that torch can use")

LEAST_COSINE = {"fp32": 0.99999, "fp16": 0.9999}


@pytest.fixture(scope="module", params=LEAST_COSINE)
def precision(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def engine(default_bundle: Path, precision: str) -> Engine:
    spec = ModelSpec(bundle=default_bundle, engine="torch", precision=precision)
    return load_engine(open_bundle(default_bundle, precision=precision), spec, threads=1)


@pytest.fixture(scope="module")
def texts(default_bundle: Path) -> Tokens:
    found, _ = Tokenizer(open_bundle(default_bundle)).encode_truncated(golden_texts(()), 256)
    return found


def batches_of(texts: Tokens, count: int) -> list[Tokens]:
    """Of many sizes and shapes; each holds some texts several times."""
    chosen = np.random.default_rng(7)
    return [take(texts, chosen.integers(0, len(texts), 1 + 37 * n)) for n in range(count)]


def test_batches_under_way_do_not_disturb_each_other(
    engine: Engine, default_bundle: Path, texts: Tokens, precision: str
) -> None:
    right = OnnxEngine(open_bundle(default_bundle), precision="fp32", threads=1)
    batches = batches_of(texts, 24)
    found = list(engine.embed_each(batches))
    known = {
        text.tobytes(): vector
        for text, vector in zip(_each(texts), right.embed(texts), strict=True)
    }
    for batch, vectors in zip(batches, found, strict=True):
        expected = np.array([known[text.tobytes()] for text in _each(batch)])
        assert (vectors * expected).sum(1).min() >= LEAST_COSINE[precision]


def _each(tokens: Tokens) -> list[np.ndarray]:
    return np.split(tokens.ids, tokens.offsets[1:-1])
