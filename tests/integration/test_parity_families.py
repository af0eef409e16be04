"""Each family of encoders gives the vectors that sentence-transformers gives."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from embed_job.bundle import Bundle
from embed_job.bundle.build import build_bundle
from embed_job.bundle.golden_texts import golden_texts
from embed_job.bundle.proof import embed_with_sentence_transformers, installed_peers
from embed_job.engine import Vectors, load_engine
from embed_job.spec import ModelSpec
from embed_job.tokenizer import Tokenizer

TEXTS = golden_texts(["query: "])
FAMILIES = ["bert", "distilbert", "roberta", "xlm-roberta", "mpnet"]
VARIANTS: dict[str, dict[str, Any]] = {
    "mean": {},
    "cls-dense": {"pooling": "cls", "dense": 24},
    "lasttoken-raw": {"pooling": "lasttoken", "normalize": False},
    "fp16": {"dtype": np.float16},
    "bf16": {"dtype": ml_dtypes.bfloat16},
}


def embed(
    bundle: Bundle, texts: tuple[str, ...], *, prompt: str = "", engine: str = "onnx"
) -> Vectors:
    tokenizer = Tokenizer(bundle, prompt=prompt)
    tokens, _ = tokenizer.encode_truncated(texts, bundle.max_tokens)
    spec = ModelSpec.model_validate({"engine": engine})
    return load_engine(bundle, spec, threads=1).embed(tokens)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_vectors_are_those_of_sentence_transformers(
    tiny_models: ModuleType, tmp_path: Path, family: str, variant: str
) -> None:
    folder = tiny_models.write_model(tmp_path / "model", family, **VARIANTS[variant])
    built = build_bundle(str(folder), tmp_path / "bundle")
    expected = embed_with_sentence_transformers(folder, TEXTS)
    spread = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.median(spread @ spread.T) < 0.9, "the model tells its texts apart"
    for engine in ("onnx", "native"):
        assert np.abs(embed(built.bundle, TEXTS, engine=engine) - expected).max() < 2e-5
    assert built.checks["numpy"] > 0.999999


def test_a_prompt_is_put_before_each_text(tiny_models: ModuleType, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    folder = tiny_models.write_model(
        tmp_path / "model",
        "roberta",
        prompts={"query": "query: ", "document": "passage:"},
        default_prompt="document",
    )
    bundle = build_bundle(str(folder), tmp_path / "bundle").bundle
    model = SentenceTransformer(str(folder), device="cpu")
    texts = ("read a zip file", " a leading space", "")
    for name in ("query", "document"):
        mine = embed(bundle, texts, prompt=bundle.prompt_text(name))
        assert np.abs(mine - model.encode(list(texts), prompt_name=name)).max() < 1e-5
    by_default = embed(bundle, texts, prompt=bundle.prompt_text(None))
    assert np.abs(by_default - model.encode(list(texts))).max() < 1e-5


def test_a_folder_without_modules_is_pooled_by_its_mean(
    tiny_models: ModuleType, tmp_path: Path
) -> None:
    folder = tiny_models.write_model(tmp_path / "model")
    for name in ("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"):
        (folder / name).unlink()
    built = build_bundle(str(folder), tmp_path / "bundle", independent=installed_peers())
    assert built.checks["sentence-transformers"] > 0.999999
    assert built.bundle.info.pooling == "mean"
    assert not built.bundle.info.normalize


def test_a_wrong_graph_is_refused(tiny_models: ModuleType, tmp_path: Path) -> None:
    """The peers' vectors decide: here those of another model, as if ours were wrong."""
    from embed_job.errors import BundleError

    folder = tiny_models.write_model(tmp_path / "model", seed=1)
    other = tiny_models.write_model(tmp_path / "other", seed=2)
    peers = {"another": lambda _, texts: embed_with_sentence_transformers(other, texts)}
    with pytest.raises(BundleError, match=r"differ from those of another \(cosine") as caught:
        build_bundle(str(folder), tmp_path / "bundle", independent=peers)
    assert not (tmp_path / "bundle").exists()
    assert caught.value.hint


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_other_architectures_go_through_torch(
    tiny_models: ModuleType, tmp_path: Path, pooling: str
) -> None:
    folder = tiny_models.write_model(tmp_path / "model", pooling=pooling, dense=16, max_tokens=64)
    tiny_models.write_modernbert(folder, layers=3, local_attention=16, global_attn_every_n_layers=2)
    built = build_bundle(str(folder), tmp_path / "bundle")
    assert built.bundle.info.architecture == "modernbert"
    assert built.checks["torch"] > 0.999999
    expected = embed_with_sentence_transformers(folder, TEXTS)
    assert np.abs(embed(built.bundle, TEXTS) - expected).max() < 2e-5
