"""The forward pass again, in plain numpy and float64: slow, and independent of the graph.

It reads the checkpoint by its own names and masks nothing, because it takes one text at a time.
A mistake in mapping weights, in a fused operator or in padding shows as a low cosine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from embed_job.bundle.files import read_tensors
from embed_job.bundle.info import Dense
from embed_job.bundle.recipe import Recipe

Matrix = npt.NDArray[np.float64]
_PARTS = {
    "mpnet": ("attention.attn.q", "attention.attn.k", "attention.attn.v", "attention.attn.o"),
    "distilbert": ("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin"),
}
_BERT_PARTS = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
)
_REST = {
    "mpnet": ("attention.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm"),
    "distilbert": ("sa_layer_norm", "ffn.lin1", "ffn.lin2", "output_layer_norm"),
}
_BERT_REST = (
    "attention.output.LayerNorm",
    "intermediate.dense",
    "output.dense",
    "output.LayerNorm",
)


class Reference:
    """A model's folder as a function from token ids to a vector."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._family = recipe.architecture
        self._tensors = {
            _plain(name): tensor for name, tensor in read_tensors(recipe.weights).items()
        }
        self._epsilon = recipe.config.get("layer_norm_eps", 1e-12)
        distil = self._family == "distilbert"
        self._heads = recipe.config["n_heads" if distil else "num_attention_heads"]
        self._depth = recipe.config["n_layers" if distil else "num_hidden_layers"]
        activation = recipe.config.get("activation" if distil else "hidden_act", "gelu")
        self._activate: Callable[[Matrix], Matrix] = _gelu if activation == "gelu" else _relu
        self._dense = [read_tensors(path) for path in recipe.dense_weights]

    def embed(self, ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """The vector of one text, special tokens included, float32 [dimension]."""
        states = self._embeddings(np.asarray(ids))
        for number in range(self._depth):
            states = self._layer(states, number)
        pooled = {"mean": states.mean(axis=0), "cls": states[0], "lasttoken": states[-1]}
        return self._head(pooled[self._recipe.pooling]).astype(np.float32)

    def _get(self, name: str) -> Matrix:
        return self._tensors[name].astype(np.float64)

    def _linear(self, x: Matrix, name: str) -> Matrix:
        return np.asarray(x @ self._get(f"{name}.weight").T + self._get(f"{name}.bias"))

    def _norm(self, x: Matrix, name: str) -> Matrix:
        centred = x - x.mean(axis=-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + self._epsilon)
        return np.asarray(centred / scale * self._get(f"{name}.weight") + self._get(f"{name}.bias"))

    def _embeddings(self, ids: npt.NDArray[np.int64]) -> Matrix:
        places = np.arange(len(ids))
        if self._family in ("roberta", "xlm-roberta", "camembert", "mpnet"):
            padding = self._recipe.pad_token_id
            words = ids != padding
            places = np.where(words, np.cumsum(words) + padding, padding)
        words_table = self._tensors["embeddings.word_embeddings.weight"]
        states = words_table[ids].astype(np.float64)
        states = states + self._get("embeddings.position_embeddings.weight")[places]
        if "embeddings.token_type_embeddings.weight" in self._tensors:
            states = states + self._get("embeddings.token_type_embeddings.weight")[0]
        return self._norm(states, "embeddings.LayerNorm")

    def _layer(self, x: Matrix, number: int) -> Matrix:
        stem = "transformer" if self._family == "distilbert" else "encoder"
        at = f"{stem}.layer.{number}."
        query, key, value, out = _PARTS.get(self._family, _BERT_PARTS)
        norm1, up, down, norm2 = _REST.get(self._family, _BERT_REST)
        q, k, v = (self._split(self._linear(x, at + name)) for name in (query, key, value))
        scores = q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1]) + self._distances(len(x))
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores = scores / scores.sum(axis=-1, keepdims=True)
        mixed = (scores @ v).transpose(1, 0, 2).reshape(x.shape)
        x = self._norm(x + self._linear(mixed, at + out), at + norm1)
        wide = self._activate(self._linear(x, at + up))
        return self._norm(x + self._linear(wide, at + down), at + norm2)

    def _split(self, x: Matrix) -> Matrix:
        """[tokens, hidden] to [heads, tokens, hidden ÷ heads]."""
        return x.reshape(len(x), self._heads, -1).transpose(1, 0, 2)

    def _distances(self, tokens: int) -> Matrix:
        """MPNet's bias by distance, [heads, tokens, tokens]; zero for the others."""
        if self._family != "mpnet":
            return np.zeros((1, 1, 1))
        table = self._get("encoder.relative_attention_bias.weight")
        bias = np.empty((self._heads, tokens, tokens))
        for i in range(tokens):
            for j in range(tokens):
                bias[:, i, j] = table[_bucket(j - i)]
        return bias

    def _head(self, vector: Matrix) -> Matrix:
        dense = iter(self._dense)
        for step in self._recipe.head:
            if isinstance(step, Dense):
                weights = next(dense)
                vector = vector @ weights["linear.weight"].astype(np.float64).T
                vector = vector + weights["linear.bias"] if step.bias else vector
                vector = np.tanh(vector) if step.activation == "tanh" else vector
            else:
                vector = vector / max(float(np.linalg.norm(vector)), 1e-12)
        return vector


def _plain(name: str) -> str:
    for prefix in ("bert.", "roberta.", "mpnet.", "distilbert."):
        name = name.removeprefix(prefix)
    name = name.replace("LayerNorm.gamma", "LayerNorm.weight")
    return name.replace("LayerNorm.beta", "LayerNorm.bias")


def _bucket(distance: int) -> int:
    """The bucket of a signed distance, 32 buckets up to 128 tokens."""
    past = 16 if distance > 0 else 0
    far = abs(distance)
    if far < 8:
        return past + far
    return past + min(15, 8 + int(math.log(far / 8) / math.log(16) * 8 + 1e-9))


def _gelu(x: Matrix) -> Matrix:
    erf = np.vectorize(math.erf, otypes=[np.float64])
    return np.asarray(0.5 * x * (1.0 + erf(x / math.sqrt(2.0))))


def _relu(x: Matrix) -> Matrix:
    return np.maximum(x, 0.0)
