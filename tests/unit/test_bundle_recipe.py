"""What is refused in a model's folder, and by which name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from embed_job.bundle.encoder import read_encoder
from embed_job.bundle.graph import relative_buckets
from embed_job.bundle.recipe import Recipe, read_recipe
from embed_job.errors import BundleError


@pytest.fixture
def model(tiny_models: ModuleType, tmp_path: Path) -> Path:
    folder: Path = tiny_models.write_model(tmp_path / "model", prompts={"query": "query: "})
    return folder


def edit(path: Path, **changes: Any) -> None:
    values = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({**values, **changes}), encoding="utf-8")


def add_module(folder: Path, kind: str, path: str = "2_More") -> None:
    index = folder / "modules.json"
    modules = json.loads(index.read_text(encoding="utf-8"))
    index.write_text(json.dumps([*modules, {"type": kind, "path": path}]), encoding="utf-8")


def test_a_recipe_says_everything(model: Path) -> None:
    recipe = read_recipe(model)
    assert (recipe.architecture, recipe.pooling, recipe.max_tokens) == ("bert", "mean", 48)
    assert [step.kind for step in recipe.head] == ["normalize"]
    assert recipe.prompts == {"query": "query: "}
    assert recipe.licence == "mit"
    assert "model.safetensors" in recipe.files
    assert "1_Pooling/config.json" in recipe.files


REFUSALS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "max pooling": (
        lambda f: edit(
            f / "1_Pooling/config.json",
            pooling_mode_mean_tokens=False,
            pooling_mode_max_tokens=True,
        ),
        "1_Pooling/config.json: pooling_mode",
        "max is not supported",
    ),
    "two poolings": (
        lambda f: edit(f / "1_Pooling/config.json", pooling_mode_cls_token=True),
        "pooling_mode",
        "cls.mean",
    ),
    "a pooling of the new style": (
        lambda f: edit(f / "1_Pooling/config.json", pooling_mode="weightedmean"),
        "pooling_mode",
        "weightedmean",
    ),
    "a pooling yet to come": (
        lambda f: edit(f / "1_Pooling/config.json", pooling_mode_median=True),
        "pooling_mode",
        "pooling_mode_median",
    ),
    "prompt left out of pooling": (
        lambda f: edit(f / "1_Pooling/config.json", include_prompt=False),
        "include_prompt",
        "not supported",
    ),
    "an unknown module": (
        lambda f: add_module(f, "sentence_transformers.models.LSTM"),
        "modules.json: type",
        "LSTM",
    ),
    "a module of its own": (
        lambda f: add_module(f, "custom_st.Transformer"),
        "modules.json: type",
        "code of the model's own",
    ),
    "a module outside": (
        lambda f: add_module(f, "sentence_transformers.models.Dense", "../../elsewhere"),
        "modules.json: path",
        "leads out",
    ),
    "a dense layer as a pickle": (
        lambda f: (
            add_module(f, "sentence_transformers.models.Dense"),
            edit(f / "2_More/config.json", in_features=32, out_features=8),
            (f / "2_More/pytorch_model.bin").write_bytes(b"pickle"),
        ),
        "2_More",
        "pickle",
    ),
    "an unknown activation": (
        lambda f: (
            add_module(f, "sentence_transformers.models.Dense"),
            edit(
                f / "2_More/config.json", in_features=32, out_features=8, activation_function="os.x"
            ),
        ),
        "activation_function",
        "os.x",
    ),
    "weights as a pickle": (
        lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
        "model",
        "pickle only",
    ),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "safetensors", "missing"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "tokenizer.json", "missing"),
    "no config": (lambda f: (f / "config.json").unlink(), "config.json", "can't be read"),
    "code of its own": (
        lambda f: edit(f / "config.json", auto_map={"AutoModel": "modeling.Model"}),
        "config.json: auto_map",
        "code of its own",
    ),
    "a decoder": (lambda f: edit(f / "config.json", is_decoder=True), "is_decoder", "true"),
    "quantised weights": (
        lambda f: edit(f / "config.json", quantization_config={"bits": 4}),
        "quantization_config",
        "not supported",
    ),
    "capitals kept though they should not be": (
        lambda f: edit(f / "tokenizer_config.json", do_lower_case=False),
        "do_lower_case",
        "does otherwise",
    ),
    "truncation on the left": (
        lambda f: edit(f / "tokenizer_config.json", truncation_side="left"),
        "truncation_side",
        "left",
    ),
    "a setting yet to come": (
        lambda f: edit(f / "sentence_bert_config.json", query_expansion={"tokens": 4}),
        "query_expansion",
        "not supported",
    ),
    "a default prompt that is none": (
        lambda f: edit(f / "config_sentence_transformers.json", default_prompt_name="passage"),
        "default_prompt_name",
        "passage",
    ),
    "malformed JSON": (
        lambda f: (f / "modules.json").write_text("[", encoding="utf-8"),
        "modules.json",
        "not valid JSON",
    ),
    "JSON as deep as a well": (
        lambda f: (f / "modules.json").write_text("[" * 200_000, encoding="utf-8"),
        "modules.json",
        "not valid JSON",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_cannot_be_reproduced_is_refused(model: Path, case: str) -> None:
    change, where, what = REFUSALS[case]
    change(model)
    with pytest.raises(BundleError) as caught:
        read_recipe(model)
    assert where in caught.value.where
    assert what in caught.value.what.replace("+", ".")
    assert caught.value.hint


@pytest.mark.parametrize(
    ("key", "value"), [("position_embedding_type", "relative_key"), ("hidden_act", "gelu_new")]
)
def test_an_encoder_of_another_kind_is_refused(model: Path, key: str, value: str) -> None:
    edit(model / "config.json", **{key: value})
    with pytest.raises(BundleError, match=key):
        read_encoder(read_recipe(model))


def test_weights_that_lack_a_layer_are_refused(model: Path) -> None:
    edit(model / "config.json", num_hidden_layers=3)
    with pytest.raises(BundleError, match=r"encoder.layer.2.*is missing"):
        read_encoder(read_recipe(model))


def test_damaged_weights_are_refused(model: Path) -> None:
    (model / "model.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(BundleError, match="not a sound safetensors file"):
        read_encoder(read_recipe(model))


def test_length_is_bounded_by_the_position_table(tiny_models: ModuleType, tmp_path: Path) -> None:
    """RoBERTa's first row is the one after its padding's."""
    lengths = {
        family: read_recipe(
            tiny_models.write_model(tmp_path / family, family, max_tokens=512)
        ).max_tokens
        for family in ("bert", "roberta", "mpnet")
    }
    assert lengths == {"bert": 66, "roberta": 64, "mpnet": 64}


CHANGES: dict[str, Callable[[Path], object]] = {
    "prompt": lambda f: edit(f / "config_sentence_transformers.json", prompts={"query": "q: "}),
    "length": lambda f: edit(f / "sentence_bert_config.json", max_seq_length=32),
    "pooling": lambda f: edit(f / "1_Pooling/config.json", pooling_mode="cls"),
    "normalisation": lambda f: edit_list(f / "modules.json"),
    "tokenizer": lambda f: edit(f / "tokenizer.json", truncation=None, version="1.0", decoder=None),
}


def edit_list(path: Path) -> None:
    modules = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(modules[:2]), encoding="utf-8")


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_a_vector_changes_the_fingerprint(model: Path, change: str) -> None:
    before = read_recipe(model).fingerprint()
    CHANGES[change](model)
    assert read_recipe(model).fingerprint() != before


def test_a_model_card_does_not_change_the_fingerprint(model: Path) -> None:
    before: Recipe = read_recipe(model)
    (model / "README.md").write_text("---\nlicense: other\n---\n", encoding="utf-8")
    assert read_recipe(model).fingerprint() == before.fingerprint()
    assert read_recipe(model).licence == "other"


def test_distances_fall_into_the_buckets_of_t5() -> None:
    """Edges as transformers computes them: 8 exact distances, the rest logarithmic up to 128."""
    first = relative_buckets(200)[0]
    assert first[:8].tolist() == [0, *range(17, 24)]
    assert relative_buckets(200)[:, 0][:8].tolist() == list(range(8))
    edges = {
        distance: int(first[distance]) - 16 for distance in (8, 11, 12, 16, 63, 64, 90, 91, 199)
    }
    assert edges == {8: 8, 11: 8, 12: 9, 16: 10, 63: 13, 64: 14, 90: 14, 91: 15, 199: 15}
