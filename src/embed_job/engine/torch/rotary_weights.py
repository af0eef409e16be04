"""Checkpoints of encoders with rotary positions: ModernBERT, nomic-bert and gte.

Names and shapes come from the safetensors file; a model's own code is never run. A setting that
is not listed here makes the reader give up, so that the model goes the general way instead.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from embed_job.bundle.recipe import Recipe
from embed_job.engine.torch.modernbert_weights import read_modernbert
from embed_job.engine.torch.stack import Affine, Block, Stack
from embed_job.engine.torch.tensors import ACTIVATIONS, Tensors, plain_theta

_NOMIC_OTHERS = (
    "prenorm",
    "parallel_block",
    "use_rms_norm",
    "causal",
    "rotary_emb_interleaved",
    "rotary_emb_scale_base",
    "rotary_scaling_factor",
    "num_experts",
)
"""Settings of nomic-bert, of which each makes another forward pass."""
_NOMIC_GATES = {"swiglu": "silu", "geglu": "gelu"}


def read_rotary(recipe: Recipe) -> Stack | None:
    """The encoder, or None where its architecture or a setting of it is not known exactly.

    BundleError where the checkpoint lacks a tensor.
    """
    readers = {"modernbert": read_modernbert, "nomic_bert": _nomic_bert, "gte": _gte}
    reader = readers.get(recipe.architecture)
    return None if reader is None else reader(recipe)


def _nomic_bert(recipe: Recipe) -> Stack | None:
    """transformers' keys, or those of the checkpoints from before it knew them."""
    config = recipe.config
    if any(config.get(key) for key in _NOMIC_OTHERS) or config.get("rotary_emb_fraction", 1) != 1:
        return None
    gate = config.get("activation_function")
    activation = config.get("hidden_act", "silu") if gate is None else _NOMIC_GATES.get(gate)
    layers = config.get("num_hidden_layers", config.get("n_layer"))
    heads = config.get("num_attention_heads", config.get("n_head"))
    theta = _theta(config, config.get("rotary_emb_base", 1000.0))
    if not layers or not heads or theta is None or activation not in ACTIVATIONS:
        return None
    tensors = Tensors(recipe, "nomic_bert.")
    if not tensors.has("encoder.layers.0.mlp.fc11.weight"):
        return None
    epsilon = config.get("layer_norm_eps", config.get("layer_norm_epsilon", 1e-12))
    return Stack(
        words=tensors.words("embeddings"),
        positions=None,
        norm=tensors.scale("emb_ln"),
        blocks=tuple(_nomic_block(tensors, number, theta) for number in range(layers)),
        heads=int(heads),
        epsilon=float(epsilon),
        activation=activation,
        max_tokens=recipe.max_tokens,
        gated=True,
    )


def _nomic_block(tensors: Tensors, number: int, theta: float) -> Block:
    at = f"encoder.layers.{number}."
    return Block(
        qkv=tensors.affine(f"{at}attn.Wqkv"),
        out=tensors.affine(f"{at}attn.out_proj"),
        attention_norm=tensors.scale(f"{at}norm1"),
        up=tensors.affine(f"{at}mlp.fc12", f"{at}mlp.fc11"),
        down=tensors.affine(f"{at}mlp.fc2"),
        output_norm=tensors.scale(f"{at}norm2"),
        theta=theta,
    )


def _gte(recipe: Recipe) -> Stack | None:
    config = recipe.config
    theta, activation = _theta(config, 160_000.0), config.get("hidden_act", "gelu")
    layers, heads = config.get("num_hidden_layers"), config.get("num_attention_heads")
    plain = (
        config.get("position_embedding_type", "rope") == "rope"
        and config.get("layer_norm_type", "layer_norm") == "layer_norm"
        and not config.get("logn_attention_scale")
    )
    if not layers or not heads or theta is None or not plain or activation not in ACTIVATIONS:
        return None
    tensors = Tensors(recipe, "new.")
    if not tensors.has("encoder.layer.0.mlp.up_gate_proj.weight"):
        return None
    return Stack(
        words=tensors.words("embeddings"),
        positions=None,
        norm=tensors.scale("embeddings.LayerNorm"),
        blocks=tuple(_gte_block(tensors, number, theta) for number in range(layers)),
        heads=int(heads),
        epsilon=float(config.get("layer_norm_eps", 1e-12)),
        activation=activation,
        max_tokens=recipe.max_tokens,
        gated=True,
    )


def _gte_block(tensors: Tensors, number: int, theta: float) -> Block:
    at = f"encoder.layer.{number}."
    linear, gate = np.split(tensors.take(f"{at}mlp.up_gate_proj.weight"), 2)
    return Block(
        qkv=tensors.affine(f"{at}attention.qkv_proj"),
        out=tensors.affine(f"{at}attention.o_proj"),
        attention_norm=tensors.scale(f"{at}attn_ln"),
        up=Affine(np.concatenate([gate, linear]), None),
        down=tensors.affine(f"{at}mlp.down_proj"),
        output_norm=tensors.scale(f"{at}mlp_ln"),
        theta=theta,
    )


def _theta(config: dict[str, Any], default: float) -> float | None:
    """The base of the angles; None where they, or the heads, are of another kind."""
    hidden, heads, size = (
        config.get(key) or 0 for key in ("hidden_size", "num_attention_heads", "head_dim")
    )
    if config.get("rope_scaling") or (size and hidden != heads * size):
        return None
    return plain_theta(config.get("rope_parameters") or {}, config.get("rope_theta", default))
