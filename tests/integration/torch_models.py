"""Tiny models of every family that the packed forward knows, and vectors of them elsewhere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from embed_job.bundle.export import TorchReference
from embed_job.bundle.recipe import Recipe, read_recipe
from embed_job.engine.torch.attention import Attend
from embed_job.engine.torch.forward import PackedModel
from embed_job.engine.torch.load import model_of
from embed_job.engine.torch.pooling import Pooler
from embed_job.engine.torch.weights import read_stack
from tests import tiny_models

CPU = torch.device("cpu")
ROTARY = ("modernbert", "nomic_bert", "gte")
FAMILIES = (*tiny_models.FAMILIES, *ROTARY)
MAX_TOKENS = 48
WORDS = 70
"""Ids below this are words of every tiny vocabulary."""

Ids = np.ndarray[Any, np.dtype[np.int32]]


def write_model(folder: Path, family: str, **options: Any) -> Recipe:
    """A folder of random weights; options are those of ``tiny_models.write_model``."""
    if family not in ROTARY:
        return read_recipe(tiny_models.write_model(folder, family, **options))
    tiny_models.write_model(folder, **options)
    save_encoder(folder, encoder_of(family))
    return read_recipe(folder)


def encoder_of(family: str, **settings: Any) -> Any:
    """An encoder of transformers, of that family, with weights that make a difference."""
    import transformers

    kinds = {"modernbert": "ModernBert", "nomic_bert": "NomicBert", "gte": "Gte"}
    sizes: dict[str, Any] = {
        "vocab_size": 300,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": 128,
        "pad_token_id": 0,
    }
    if family == "modernbert":
        # Windows of 4 to each side in every second layer.
        sizes |= {"local_attention": 8, "global_attn_every_n_layers": 2, "cls_token_id": 2}
        sizes |= {"bos_token_id": 2, "eos_token_id": 3, "sep_token_id": 3}
    config = getattr(transformers, f"{kinds[family]}Config")(**(sizes | settings))
    return spread(getattr(transformers, f"{kinds[family]}Model")(config))


def spread(encoder: Any) -> Any:
    """The encoder with random weights large enough that attention tells tokens apart."""
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in encoder.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(0.35 * noise if parameter.dim() > 1 else parameter + noise / 16)
    return encoder


def save_encoder(folder: Path, encoder: Any) -> None:
    """Put an encoder in the place of the folder's own."""
    (folder / "model.safetensors").unlink()
    encoder.save_pretrained(folder)


def change_config(folder: Path, **changes: Any) -> Recipe:
    """The recipe of a folder after changes to its config.json; None takes a key away."""
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: config[key] for key in config if config[key] is not None}))
    return read_recipe(folder)


def random_texts(lengths: Sequence[int], *, seed: int = 5) -> list[Ids]:
    """Token ids of texts of these lengths."""
    source = np.random.default_rng(seed)
    return [source.integers(5, WORDS, length).astype(np.int32) for length in lengths]


def packed(
    texts: Sequence[Ids], *, spare_rows: int = 0, spare_tokens: int = 0, fill: int = 0
) -> tuple[Tensor, Tensor]:
    """ids and cu_seqlens of texts, filled up to a bucket."""
    ids = np.concatenate([*texts, np.full(spare_tokens, fill, np.int32)])
    ends = np.cumsum([0, *map(len, texts)])
    cu_seqlens = np.append(ends, np.full(spare_rows, ends[-1])).astype(np.int32)
    return torch.from_numpy(ids), torch.from_numpy(cu_seqlens)


def embed(
    model: torch.nn.Module, texts: Sequence[Ids], *, max_length: int = MAX_TOKENS, **spare: int
) -> Any:
    """Vectors of texts as numpy, the spare rows' too."""
    ids, cu_seqlens = packed(texts, **spare)
    with torch.inference_mode():
        return model(ids, cu_seqlens, max_length).numpy()


def by_transformers(recipe: Recipe, texts: Sequence[Ids]) -> Any:
    """Vectors of texts by transformers, one text at a time."""
    reference = TorchReference(recipe)
    return np.stack([reference.embed(text.tolist()) for text in texts])


def load(recipe: Recipe, precision: str = "fp32") -> torch.nn.Module:
    return model_of(recipe, precision=precision, device=CPU)


def packed_with(recipe: Recipe, attend: Attend, device: torch.device) -> PackedModel:
    """The packed model in fp16 with an attention that this machine would not choose."""
    stack = read_stack(recipe)
    assert stack is not None
    pooler = Pooler(recipe.pooling, (), [], hidden=stack.hidden, device=device)
    return PackedModel(stack, pooler, attend, device=device, dtype=torch.float16)
