"""A bundle read again as the recipe it was made by, for engines that start from its weights."""

from __future__ import annotations

from embed_job.bundle import Bundle
from embed_job.bundle.files import read_object
from embed_job.bundle.info import Dense
from embed_job.bundle.recipe import Recipe
from embed_job.errors import BundleError

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"


def dense_file(number: int) -> str:
    """The name of the weights of a head's Dense layer, counted from 0."""
    return f"dense.{number}.safetensors"


def recipe_of(bundle: Bundle) -> Recipe:
    """The recipe of a bundle; its files are those inside the bundle.

    ``files`` are those of the model's folder, and say nothing of the bundle's. BundleError where
    the bundle is of a version that did not keep the model's config.json, or where it is damaged.
    """
    path, info = bundle.path, bundle.info
    if not (path / CONFIG_FILE).is_file():
        raise BundleError(
            str(path),
            f"has no {CONFIG_FILE}: an older version made it",
            f"Make it again: remove the folder, then embed-job bundle {info.source} --out {path}",
        )
    config = read_object(path / CONFIG_FILE)
    if config.get("model_type") != info.architecture:
        raise BundleError(
            f"{path / CONFIG_FILE}: model_type",
            f"is not {info.architecture}, as bundle.json says",
            "Make the bundle again.",
        )
    layers = sum(isinstance(step, Dense) for step in info.head)
    return Recipe(
        folder=path,
        config=config,
        weights=path / WEIGHTS_FILE,
        tokenizer=path / "tokenizer.json",
        pooling=info.pooling,
        head=info.head,
        dense_weights=tuple(path / dense_file(number) for number in range(layers)),
        prompts=info.prompts,
        default_prompt=info.default_prompt,
        similarity=info.similarity,
        max_tokens=info.max_tokens,
        pad_token_id=info.pad_token_id,
        licence=info.licence,
        files=info.source_files,
    )
