"""ModernBERT's checkpoint: layers that see a window between layers that see the whole text."""

from __future__ import annotations

from typing import Any

from embed_job.bundle.recipe import Recipe
from embed_job.engine.torch.stack import Block, Stack
from embed_job.engine.torch.tensors import ACTIVATIONS, Tensors, plain_theta

_FULL, _SLIDING = "full_attention", "sliding_attention"


def read_modernbert(recipe: Recipe) -> Stack | None:
    """The encoder, or None where a setting of it is not known exactly.

    BundleError where the checkpoint lacks a tensor.
    """
    config = recipe.config
    layers, heads = config.get("num_hidden_layers"), config.get("num_attention_heads")
    activation = config.get("hidden_activation", "gelu")
    if not layers or not heads or activation not in ACTIVATIONS:
        return None
    kinds, thetas = _kinds(config, layers), _thetas(config)
    if thetas is None or not set(kinds) <= set(thetas):
        return None
    tensors = Tensors(recipe, "model.")
    half = int(config.get("local_attention", 128)) // 2
    return Stack(
        words=tensors.take("embeddings.tok_embeddings.weight"),
        positions=None,
        norm=tensors.scale("embeddings.norm"),
        blocks=tuple(
            _block(tensors, number, thetas[kind], half if kind == _SLIDING else None)
            for number, kind in enumerate(kinds)
        ),
        heads=int(heads),
        epsilon=float(config.get("norm_eps", 1e-5)),
        activation=activation,
        max_tokens=recipe.max_tokens,
        gated=True,
        pre_norm=True,
        final_norm=tensors.scale("final_norm"),
    )


def _block(tensors: Tensors, number: int, theta: float, window: int | None) -> Block:
    at = f"layers.{number}."
    return Block(
        qkv=tensors.affine(f"{at}attn.Wqkv"),
        out=tensors.affine(f"{at}attn.Wo"),
        attention_norm=tensors.scale(f"{at}attn_norm") if number else None,
        up=tensors.affine(f"{at}mlp.Wi"),
        down=tensors.affine(f"{at}mlp.Wo"),
        output_norm=tensors.scale(f"{at}mlp_norm"),
        theta=theta,
        window=window,
    )


def _kinds(config: dict[str, Any], layers: int) -> list[str]:
    every = config.get("global_attn_every_n_layers", 3)
    named = config.get("layer_types")
    kinds: list[str] = named or [_SLIDING if number % every else _FULL for number in range(layers)]
    return kinds[:layers]


def _thetas(config: dict[str, Any]) -> dict[str, float] | None:
    """The base of the angles by kind of layer; None where one is scaled in some other way."""
    found = config.get("rope_parameters") or {}
    if config.get("rope_scaling") or not set(found) <= {_FULL, _SLIDING}:
        return None
    full = plain_theta(found.get(_FULL) or {}, config.get("global_rope_theta", 160_000.0))
    sliding = plain_theta(found.get(_SLIDING) or {}, config.get("local_rope_theta", 10_000.0))
    return None if full is None or sliding is None else {_FULL: full, _SLIDING: sliding}
