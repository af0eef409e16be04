"""The weights of a BERT-like encoder, by role instead of by the names of its family."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from embed_job.bundle.files import Array, read_tensors
from embed_job.bundle.recipe import Recipe
from embed_job.errors import BundleError

_CHOOSE = "Choose a model that this version can reproduce exactly."


@dataclass(frozen=True, slots=True)
class Linear:
    """x @ weight + bias; weight [in, out]."""

    weight: Array
    bias: Array


@dataclass(frozen=True, slots=True)
class Norm:
    gamma: Array
    beta: Array


@dataclass(frozen=True, slots=True)
class Layer:
    """qkv holds query, key and value side by side: [hidden, 3 · hidden]."""

    qkv: Linear
    attention: Linear
    attention_norm: Norm
    up: Linear
    down: Linear
    output_norm: Norm


@dataclass(frozen=True, slots=True)
class Encoder:
    """A post-norm transformer encoder.

    positions [rows, hidden] holds token type 0 already. Where positions_pad is a token id,
    positions count from the row after it and skip tokens of that id, as RoBERTa's do; else they
    count from row 0. relative_bias [heads, buckets] is MPNet's.
    """

    words: Array
    positions: Array
    norm: Norm
    layers: tuple[Layer, ...]
    heads: int
    epsilon: float
    activation: str
    positions_pad: int | None
    relative_bias: Array | None


@dataclass(frozen=True, slots=True)
class _Names:
    """What a family calls its parts; those of a layer follow ``layer`` + number + dot."""

    prefix: str
    layer: str
    query: str
    key: str
    value: str
    attention: str
    attention_norm: str
    up: str
    down: str
    output_norm: str


_BERT = _Names(
    prefix="bert.",
    layer="encoder.layer.",
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    attention="attention.output.dense",
    attention_norm="attention.output.LayerNorm",
    up="intermediate.dense",
    down="output.dense",
    output_norm="output.LayerNorm",
)
_ROBERTA = _Names("roberta.", *[getattr(_BERT, name) for name in _Names.__slots__[1:]])
_MPNET = _Names(
    prefix="mpnet.",
    layer="encoder.layer.",
    query="attention.attn.q",
    key="attention.attn.k",
    value="attention.attn.v",
    attention="attention.attn.o",
    attention_norm="attention.LayerNorm",
    up="intermediate.dense",
    down="output.dense",
    output_norm="output.LayerNorm",
)
_DISTILBERT = _Names(
    prefix="distilbert.",
    layer="transformer.layer.",
    query="attention.q_lin",
    key="attention.k_lin",
    value="attention.v_lin",
    attention="attention.out_lin",
    attention_norm="sa_layer_norm",
    up="ffn.lin1",
    down="ffn.lin2",
    output_norm="output_layer_norm",
)
_FAMILIES = {
    "bert": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "mpnet": _MPNET,
    "distilbert": _DISTILBERT,
}


def is_known(architecture: str) -> bool:
    """Whether the encoder's graph is written from its weights, without torch."""
    return architecture in _FAMILIES


def read_encoder(recipe: Recipe) -> Encoder:
    """The encoder of a known architecture.

    BundleError names what can't be reproduced exactly, or what the weights lack.
    """
    _check(recipe)
    config, architecture = recipe.config, recipe.architecture
    names = _FAMILIES[architecture]
    weights = _Weights(recipe, names)
    positions = weights.take("embeddings.position_embeddings.weight")
    if architecture not in ("mpnet", "distilbert"):
        positions = positions + weights.take("embeddings.token_type_embeddings.weight")[0]
    relative = None
    if architecture == "mpnet":
        relative = weights.take("encoder.relative_attention_bias.weight").T.copy()
    pad = recipe.pad_token_id if names in (_ROBERTA, _MPNET) else None
    count = config["n_layers" if architecture == "distilbert" else "num_hidden_layers"]
    return Encoder(
        words=weights.take("embeddings.word_embeddings.weight"),
        positions=positions,
        norm=weights.norm("embeddings.LayerNorm"),
        layers=tuple(weights.layer(number) for number in range(count)),
        heads=config["n_heads" if architecture == "distilbert" else "num_attention_heads"],
        epsilon=1e-12 if architecture == "distilbert" else config.get("layer_norm_eps", 1e-12),
        activation="gelu" if _activation(config) == "gelu" else "relu",
        positions_pad=pad,
        relative_bias=relative,
    )


def _activation(config: dict[str, Any]) -> Any:
    return config.get(
        "activation" if config["model_type"] == "distilbert" else "hidden_act", "gelu"
    )


def _check(recipe: Recipe) -> None:
    config, path = recipe.config, recipe.weights.parent / "config.json"
    if config.get("position_embedding_type", "absolute") not in ("absolute", None):
        raise BundleError(
            f"{path}: position_embedding_type",
            f"{config['position_embedding_type']} is not supported",
            _CHOOSE,
        )
    if _activation(config) not in ("gelu", "relu"):
        raise BundleError(f"{path}: hidden_act", f"{_activation(config)} is not supported", _CHOOSE)
    size = config.get("dim" if recipe.architecture == "distilbert" else "hidden_size")
    heads = config.get("n_heads" if recipe.architecture == "distilbert" else "num_attention_heads")
    layers = config.get("n_layers" if recipe.architecture == "distilbert" else "num_hidden_layers")
    if not all(isinstance(value, int) and 0 < value < 2**20 for value in (size, heads, layers)):
        raise BundleError(str(path), "lacks the model's sizes", "Fetch the model again.")
    if recipe.architecture == "mpnet" and config.get("relative_attention_num_buckets", 32) != 32:
        raise BundleError(
            f"{path}: relative_attention_num_buckets", "32 alone is supported", _CHOOSE
        )


class _Weights:
    """Tensors of one file, found with or without the family's prefix."""

    def __init__(self, recipe: Recipe, names: _Names) -> None:
        self._path = recipe.weights
        self._names = names
        self._tensors = read_tensors(recipe.weights)

    def take(self, name: str) -> Array:
        """The tensor of that name, removed from what is left."""
        older = name.replace("LayerNorm.weight", "LayerNorm.gamma")
        older = older.replace("LayerNorm.bias", "LayerNorm.beta")
        for candidate in (name, self._names.prefix + name, older, self._names.prefix + older):
            if candidate in self._tensors:
                return self._tensors.pop(candidate)
        raise BundleError(f"{self._path}: {name}", "is missing", "Fetch the model again.")

    def linear(self, name: str) -> Linear:
        return Linear(self.take(f"{name}.weight").T.copy(), self.take(f"{name}.bias"))

    def norm(self, name: str) -> Norm:
        return Norm(self.take(f"{name}.weight"), self.take(f"{name}.bias"))

    def layer(self, number: int) -> Layer:
        names = self._names
        at = f"{names.layer}{number}."
        parts = [self.linear(at + name) for name in (names.query, names.key, names.value)]
        return Layer(
            qkv=Linear(
                np.concatenate([part.weight for part in parts], axis=1),
                np.concatenate([part.bias for part in parts]),
            ),
            attention=self.linear(at + names.attention),
            attention_norm=self.norm(at + names.attention_norm),
            up=self.linear(at + names.up),
            down=self.linear(at + names.down),
            output_norm=self.norm(at + names.output_norm),
        )


def relative_buckets(tokens: int, *, buckets: int = 32, distance: int = 128) -> npt.NDArray[Any]:
    """T5's buckets of signed distances, int32 [tokens, tokens]; logarithmic past 8 tokens."""
    span = np.arange(tokens, dtype=np.int32)
    behind = span[:, None] - span[None, :]
    half = buckets // 2
    exact = half // 2
    far = np.abs(behind)
    # float32 throughout, as torch computes it: a bucket's edge falls on the same distance.
    ratio = np.log(np.maximum(far, 1).astype(np.float32) / np.float32(exact))
    ratio = ratio / np.float32(math.log(distance / exact)) * np.float32(half - exact)
    large = np.minimum(exact + ratio.astype(np.int32), half - 1)
    chosen = np.where(far < exact, far, large) + (behind < 0) * half
    result: npt.NDArray[Any] = chosen.astype(np.int32)
    return result
