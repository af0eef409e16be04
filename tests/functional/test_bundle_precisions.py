"""Precisions of a bundle: what each needs in it, what it is held against, and its fingerprint."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import embed_job
from embed_job.bundle import Bundle, check_golden, open_bundle
from embed_job.bundle.build import build_bundle
from embed_job.bundle.files import sha256_of
from embed_job.bundle.golden import load_golden, save_golden
from embed_job.bundle.info import fingerprint_of
from embed_job.bundle.proof import make_golden
from embed_job.bundle.quantize import write_int8
from embed_job.engine import Tokens, Vectors, choose_engine, load_engine
from embed_job.engine.native import NativeEngine
from embed_job.engine.native.library import runnable_variants
from embed_job.engine.onnx import OnnxEngine
from embed_job.errors import BundleError
from embed_job.spec import ModelSpec
from embed_job.tokenizer import Tokenizer

INT8 = ModelSpec(precision="int8")
BOTH = ("fp32", "int8")
needs_kernels = pytest.mark.skipif(
    not runnable_variants(), reason="no kernels were compiled for this processor"
)


@pytest.fixture(scope="module")
def int8_bundle(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("int8") / "bundle"
    return build_bundle(str(tiny_model), out, precisions=BOTH).bundle


def check(bundle: Bundle, precision: str, *, variant: str | None = None) -> float:
    engine = NativeEngine(bundle, precision=precision, threads=1, variant=variant)
    return check_golden(bundle, engine, Tokenizer(bundle), precision=precision)


@needs_kernels
def test_int8_is_golden_vectors_and_no_graph(tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    before = build_bundle(str(tiny_model), out).bundle
    built = build_bundle(str(tiny_model), out, precisions=BOTH)
    bundle = built.bundle
    assert built.made
    assert bundle.info.precisions == BOTH
    assert built.loss is not None
    assert 0.99 < built.loss.least <= built.loss.mean < 1
    assert set(bundle.info.files) - set(before.info.files) == {"golden.int8.npy"}
    assert bundle.fingerprint("fp32") == before.fingerprint("fp32")
    golden = [load_golden(out, precision).vectors for precision in BOTH]
    assert np.abs(golden[0] - golden[1]).max() > 1e-4, "they are two precisions"


@needs_kernels
def test_the_fingerprint_of_int8_is_that_of_the_scheme(int8_bundle: Bundle) -> None:
    fp32 = int8_bundle.info.fingerprint
    assert int8_bundle.fingerprint("int8") == fingerprint_of({"fp32": fp32, "int8": "w8a8-rows-1"})


@pytest.mark.parametrize("variant", runnable_variants())
def test_every_instruction_set_reproduces_the_golden_vectors(
    int8_bundle: Bundle, variant: str
) -> None:
    assert check(int8_bundle, "int8", variant=variant) > 0.9999999


@needs_kernels
@pytest.mark.parametrize("family", ["mpnet", "xlm-roberta", "distilbert"])
def test_int8_of_other_families(tiny_models: ModuleType, tmp_path: Path, family: str) -> None:
    model = tiny_models.write_model(tmp_path / "model", family, dense=16)
    built = build_bundle(str(model), tmp_path / "bundle", precisions=BOTH)
    assert built.loss is not None
    assert built.loss.mean > 0.99
    assert check(built.bundle, "int8") > 0.9999999


def test_a_graph_that_an_older_version_quantised_goes_on(tiny_bundle: Path, tmp_path: Path) -> None:
    path = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    write_int8(path / "model.onnx", path / "model.int8.onnx")
    values = json.loads((path / "bundle.json").read_text(encoding="utf-8"))
    values["precisions"] = BOTH
    plain = open_bundle(path)
    engine = OnnxEngine(plain, precision="int8", threads=1)
    save_golden(path, "int8", make_golden(plain, engine, Tokenizer(plain)))
    for name in ("model.int8.onnx", "model.int8.onnx.data", "golden.int8.npy"):
        values["files"][name] = sha256_of(path / name)
    (path / "bundle.json").write_text(json.dumps(values), encoding="utf-8")

    older = open_bundle(path, precision="int8")
    assert choose_engine(older, INT8) == "onnx"
    loaded = load_engine(older, INT8, threads=1)
    assert check_golden(older, loaded, Tokenizer(older), precision="int8") > 0.999
    assert older.fingerprint("int8") == fingerprint_of(
        {"fp32": older.info.fingerprint, "int8": values["files"]["model.int8.onnx"]}
    )
    with pytest.raises(BundleError, match="int8"):
        NativeEngine(older, precision="int8", threads=1)


_BUILD_INT8 = """
import sys
from pathlib import Path
from embed_job.bundle.build import build_bundle
from embed_job.errors import BundleError
try:
    build_bundle(sys.argv[1], Path(sys.argv[2]), precisions=("fp32", "int8"))
except BundleError as error:
    sys.exit(str(error))
"""


def test_int8_where_nothing_was_compiled(tiny_model: Path, tmp_path: Path) -> None:
    source = Path(embed_job.__file__).parent
    shutil.copytree(
        source, tmp_path / "embed_job", ignore=shutil.ignore_patterns("libraries", "__pycache__")
    )
    out = tmp_path / "bundle"
    made = subprocess.run(
        [sys.executable, "-c", _BUILD_INT8, str(tiny_model), str(out)],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 1
    assert made.stderr.startswith("--precision int8: is made by the native engine")
    assert "kernels" in made.stderr
    assert not out.exists()


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precisions_need_nothing_of_their_own(tiny_bundle: Path, precision: str) -> None:
    opened = open_bundle(tiny_bundle, precision=precision)
    others = {opened.fingerprint(other) for other in ("fp32", "fp16", "bf16") if other != precision}
    assert opened.fingerprint(precision) not in others
    assert opened.fingerprint(precision) == fingerprint_of(
        {"fp32": opened.info.fingerprint, precision: "weights and activations"}
    )


class Blurred:
    """An engine whose vectors have a given cosine to the right ones."""

    def __init__(self, engine: OnnxEngine, cosine: float) -> None:
        self.dimension, self.batch_tokens = engine.dimension, engine.batch_tokens
        self.packs, self.facts = engine.packs, engine.facts
        self.embed_each, self.padded_tokens = engine.embed_each, engine.padded_tokens
        self._engine, self._cosine = engine, cosine

    def embed(self, batch: Tokens) -> Vectors:
        vectors = self._engine.embed(batch)
        aside = np.roll(vectors, 1, axis=1)
        aside -= (aside * vectors).sum(axis=1, keepdims=True) * vectors
        aside /= np.linalg.norm(aside, axis=1, keepdims=True)
        blurred: Vectors = self._cosine * vectors + (1 - self._cosine**2) ** 0.5 * aside
        return blurred


@pytest.mark.parametrize(
    ("precision", "cosine", "passes"),
    [
        ("fp16", 0.99995, True),
        ("fp16", 0.9995, False),
        ("bf16", 0.9995, True),
        ("bf16", 0.995, False),
    ],
)
def test_half_precisions_are_held_against_fp32(
    tiny_bundle: Path, precision: str, cosine: float, passes: bool
) -> None:
    bundle = open_bundle(tiny_bundle)
    engine = Blurred(OnnxEngine(bundle, precision="fp32", threads=1), cosine)
    if passes:
        least = check_golden(bundle, engine, Tokenizer(bundle), precision=precision)
        assert least == pytest.approx(cosine, abs=1e-5)
    else:
        with pytest.raises(BundleError, match=f"its {precision} does not reproduce"):
            check_golden(bundle, engine, Tokenizer(bundle), precision=precision)
