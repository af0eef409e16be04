"""Bundles loaded by the torch forward: known and other architectures, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embed_job.bundle import Bundle, open_bundle
from embed_job.bundle.build import build_bundle
from embed_job.bundle.golden import cosines, load_golden
from embed_job.bundle.golden_texts import golden_texts
from embed_job.bundle.slim import slim_copy
from embed_job.engine import Tokens, Vectors
from embed_job.engine.onnx import OnnxEngine
from embed_job.engine.torch.forward import PackedModel
from embed_job.engine.torch.load import load_model
from embed_job.engine.torch.padded import PaddedModel
from embed_job.engine.torch.weights import read_stack
from embed_job.errors import BundleError, SpecError
from embed_job.tokenizer import Tokenizer
from tests.integration import torch_models as tiny

LENGTHS = [1, 2, 17, 3, tiny.MAX_TOKENS, 9]


def _load(bundle: Bundle, precision: str = "fp32") -> Any:
    return load_model(bundle, precision=precision, device=tiny.CPU)


def _embed(model: Any, tokens: Tokens, *, texts_a_batch: int = 8) -> Vectors:
    parts = []
    for start in range(0, len(tokens), texts_a_batch):
        ends = tokens.offsets[start : start + texts_a_batch + 1]
        texts = np.split(tokens.ids[ends[0] : ends[-1]], ends[1:-1] - ends[0])
        longest = max(map(len, texts))
        parts.append(tiny.embed(model, texts, max_length=longest, spare_rows=1)[:-1])
    return np.concatenate(parts)


@pytest.mark.parametrize("family", ["bert", "mpnet", "modernbert", "gte", "nomic_bert"])
def test_a_bundle_gives_the_vectors_of_its_graph(tmp_path: Path, family: str) -> None:
    """Dense layer and all, from the files of the bundle alone."""
    tiny.write_model(tmp_path / "model", family, dense=24)
    bundle = build_bundle(str(tmp_path / "model"), tmp_path / "bundle").bundle
    (tmp_path / "model").rename(tmp_path / "elsewhere")
    model = _load(bundle)
    assert isinstance(model, PackedModel)
    assert model.dimension == bundle.dimension == 24
    tokens, _ = Tokenizer(bundle).encode_truncated(golden_texts(()), bundle.max_tokens)
    graph = OnnxEngine(bundle, precision="fp32", threads=1).embed(tokens)
    assert np.abs(_embed(model, tokens) - graph).max() < 2e-5


@pytest.mark.parametrize(
    ("precision", "least"), [("fp32", 0.999999), ("fp16", 0.9999), ("bf16", 0.999)]
)
def test_the_default_model_keeps_its_golden_vectors(
    default_bundle: Path, precision: str, least: float
) -> None:
    bundle = open_bundle(default_bundle, verify=False)
    golden = load_golden(bundle.path, "fp32")
    tokenizer = Tokenizer(bundle).with_prompt("")
    tokens, _ = tokenizer.encode_truncated(list(golden.texts[:24]), bundle.max_tokens)
    made = _embed(_load(bundle, precision), tokens)
    assert cosines(made, golden.vectors[:24]).min() >= least


def _electra(folder: Path, **options: Any) -> Path:
    """A family of transformers that is not packed."""
    from transformers import ElectraConfig, ElectraModel

    tiny.tiny_models.write_model(folder, **options)
    config = ElectraConfig(
        vocab_size=300,
        embedding_size=16,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=66,
    )
    tiny.save_encoder(folder, tiny.spread(ElectraModel(config)))
    return folder


@pytest.mark.parametrize("pooling", ["mean", "cls", "lasttoken"])
def test_another_architecture_goes_through_transformers(tmp_path: Path, pooling: str) -> None:
    folder = _electra(tmp_path / "model", pooling=pooling, dense=16)
    recipe = tiny.read_recipe(folder)
    model = tiny.load(recipe)
    assert isinstance(model, PaddedModel)
    assert (model.dimension, model.pads, model.capturable) == (16, True, False)
    texts = tiny.random_texts([*LENGTHS, 0, 4])
    made = tiny.embed(model, texts, spare_rows=2, spare_tokens=5)
    full = [row for row, text in enumerate(texts) if len(text)]
    expected = tiny.by_transformers(recipe, [texts[row] for row in full])
    assert np.abs(made[full] - expected).max() < 2e-5
    assert not made[[6, 8, 9]].any()


def test_a_decoder_is_read_from_its_last_token(tmp_path: Path) -> None:
    """Qwen3-Embedding's shape: causal attention, fewer keys than queries, rotary positions."""
    from transformers import Qwen3Config, Qwen3Model

    tiny.tiny_models.write_model(tmp_path / "model", pooling="lasttoken")
    config = Qwen3Config(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=66,
        pad_token_id=0,
    )
    tiny.save_encoder(tmp_path / "model", tiny.spread(Qwen3Model(config)))
    recipe = tiny.read_recipe(tmp_path / "model")
    model = tiny.load(recipe)
    assert isinstance(model, PaddedModel)
    texts = tiny.random_texts(LENGTHS)
    expected = tiny.by_transformers(recipe, texts)
    assert np.abs(tiny.embed(model, texts, spare_tokens=3) - expected).max() < 2e-5
    ids, _ = tiny.packed(texts)
    assert model.encoder(input_ids=ids[None].long()).past_key_values is None


def test_another_architecture_is_bundled_and_loaded(tmp_path: Path) -> None:
    folder = _electra(tmp_path / "model")
    bundle = build_bundle(str(folder), tmp_path / "bundle").bundle
    model = _load(bundle, "bf16")
    assert isinstance(model, PaddedModel)
    tokens, _ = Tokenizer(bundle).encode_truncated(golden_texts(())[:12], bundle.max_tokens)
    graph = OnnxEngine(bundle, precision="fp32", threads=1).embed(tokens)
    assert cosines(_embed(model, tokens), graph).min() > 0.99


ODD: dict[str, tuple[str, dict[str, Any]]] = {
    "scaled angles": (
        "gte",
        {"rope_parameters": {"rope_theta": 1e4, "rope_type": "linear", "factor": 2.0}},
    ),
    "scaled angles of one kind": (
        "modernbert",
        {"rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 2.0}}},
    ),
    "scaled angles, said as once": ("modernbert", {"rope_scaling": {"type": "linear"}}),
    "another activation": ("gte", {"hidden_act": "gelu_new"}),
    "scores scaled by length": ("gte", {"logn_attention_scale": True}),
    "another norm": ("gte", {"layer_norm_type": "rms_norm"}),
    "a kind of layer": ("modernbert", {"layer_types": ["full_attention", "chunked", "chunked"]}),
    "norms before": ("nomic_bert", {"prenorm": True}),
    "half a head turned": ("nomic_bert", {"rotary_emb_fraction": 0.5}),
    "heads of another size": ("nomic_bert", {"head_dim": 16}),
    "experts": ("nomic_bert", {"num_experts": 8}),
    "no sizes": ("gte", {"num_hidden_layers": None}),
    "another family": ("bert", {"model_type": "electra"}),
}


@pytest.mark.parametrize("case", ODD)
def test_a_setting_that_is_not_known_is_not_packed(tmp_path: Path, case: str) -> None:
    family, changes = ODD[case]
    tiny.write_model(tmp_path / "model", family)
    assert read_stack(tiny.change_config(tmp_path / "model")) is not None
    assert read_stack(tiny.change_config(tmp_path / "model", **changes)) is None


def test_configs_of_before_transformers_took_them_in_are_read(tmp_path: Path) -> None:
    """nomic-embed-text's own keys, and ModernBERT's of its first version."""
    texts = tiny.random_texts(LENGTHS)
    recipe = tiny.write_model(tmp_path / "nomic", "nomic_bert")
    expected = tiny.by_transformers(recipe, texts)
    older = {
        "n_embd": 32,
        "n_layer": 3,
        "n_head": 4,
        "n_inner": 48,
        "layer_norm_epsilon": 1e-12,
        "rotary_emb_base": 1000,
        "rotary_emb_fraction": 1.0,
        "activation_function": "swiglu",
        "model_type": "nomic_bert",
    }
    (tmp_path / "nomic/config.json").write_text(json.dumps(older))
    older_recipe = tiny.read_recipe(tmp_path / "nomic")
    assert np.abs(tiny.embed(tiny.load(older_recipe), texts) - expected).max() < 2e-5
    recipe = tiny.write_model(tmp_path / "modern", "modernbert")
    expected = tiny.by_transformers(recipe, texts)
    older_recipe = tiny.change_config(
        tmp_path / "modern",
        rope_parameters=None,
        layer_types=None,
        global_rope_theta=160000.0,
        local_rope_theta=10000.0,
        global_attn_every_n_layers=2,
    )
    assert np.abs(tiny.embed(tiny.load(older_recipe), texts) - expected).max() < 2e-5


def test_camembert_is_read_as_the_roberta_that_it_is(tmp_path: Path) -> None:
    texts = tiny.random_texts(LENGTHS)
    tiny.write_model(tmp_path / "model", "roberta")
    recipe = tiny.change_config(
        tmp_path / "model", model_type="camembert", architectures=["CamembertModel"]
    )
    model = tiny.load(recipe)
    assert isinstance(model, PackedModel)
    assert np.abs(tiny.embed(model, texts) - tiny.by_transformers(recipe, texts)).max() < 2e-5


def test_the_angles_base_is_the_configs(tmp_path: Path) -> None:
    texts = tiny.random_texts(LENGTHS)
    for family, theta in (("gte", 500.0), ("nomic_bert", 77.0)):
        folder = tmp_path / family
        tiny.write_model(folder, family)
        rope = {"rope_theta": theta, "rope_type": "default"}
        recipe = tiny.change_config(folder, rope_parameters=rope)
        made = tiny.embed(tiny.load(recipe), texts)
        assert np.abs(made - tiny.by_transformers(recipe, texts)).max() < 2e-5


def test_what_cannot_be_loaded_is_named(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = open_bundle(tiny_bundle)
    with pytest.raises(SpecError, match=r"model\.precision: .* does not compute in int8"):
        _load(bundle, "int8")
    older = tmp_path / "older"
    older.mkdir()
    with pytest.raises(BundleError, match=r"has no config\.json: an older version"):
        _load(Bundle(older, bundle.info))
    with pytest.raises(BundleError, match=r"has no model\.safetensors: it was slimmed"):
        _load(slim_copy(tiny_bundle, tmp_path / "slim"))
    recipe = tiny.write_model(tmp_path / "model", "modernbert")
    torn = tmp_path / "model/model.safetensors"
    torn.write_bytes(torn.read_bytes()[:-8])
    with pytest.raises(BundleError, match="not a sound safetensors file"):
        tiny.load(recipe)


def test_a_model_that_transformers_does_not_know_is_named(tmp_path: Path) -> None:
    tiny.write_model(tmp_path / "model", "bert")
    recipe = tiny.change_config(tmp_path / "model", model_type="newest")
    with pytest.raises(BundleError, match=r"newest: transformers can't load it"):
        tiny.load(recipe)
