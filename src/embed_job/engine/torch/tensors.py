"""Tensors of a checkpoint with rotary positions, and what its config says of the angles."""

from __future__ import annotations

from typing import Any

import numpy as np

from embed_job.bundle.files import Array, read_tensors
from embed_job.bundle.recipe import Recipe
from embed_job.engine.torch.stack import Affine, Scale
from embed_job.errors import BundleError

ACTIVATIONS = ("gelu", "silu", "relu")
"""Those that the packed forward has."""
_PLAIN_ANGLES = frozenset(["rope_type", "rope_theta"])


class Tensors:
    """Tensors of one file by name, with or without a prefix before the names."""

    def __init__(self, recipe: Recipe, prefix: str) -> None:
        self._path = recipe.weights
        self._tensors = {
            name.removeprefix(prefix): tensor
            for name, tensor in read_tensors(recipe.weights).items()
        }

    def has(self, name: str) -> bool:
        return name in self._tensors

    def take(self, name: str) -> Array:
        try:
            return self._tensors[name]
        except KeyError as error:
            raise BundleError(
                f"{self._path}: {name}", "is missing", "Fetch the model again."
            ) from error

    def affine(self, *names: str) -> Affine:
        """Linear layers of the same input, above each other."""
        weights = [self.take(f"{name}.weight") for name in names]
        biases = [self.take(f"{name}.bias") for name in names if self.has(f"{name}.bias")]
        return Affine(np.concatenate(weights), np.concatenate(biases) if biases else None)

    def scale(self, name: str) -> Scale:
        beta = f"{name}.bias"
        return Scale(self.take(f"{name}.weight"), self.take(beta) if self.has(beta) else None)

    def words(self, stem: str) -> Array:
        """The word table with token type 0 in it, where there are types."""
        table, types = self.take(f"{stem}.word_embeddings.weight"), f"{stem}.token_type_embeddings"
        return table + self.take(f"{types}.weight")[0] if self.has(f"{types}.weight") else table


def plain_theta(parameters: dict[str, Any], default: float | None) -> float | None:
    """The base of rotary angles; None where they are scaled or turned in some other way."""
    plain = parameters.get("rope_type", "default") == "default"
    theta = parameters.get("rope_theta", default)
    return float(theta) if plain and theta and set(parameters) <= _PLAIN_ANGLES else None
