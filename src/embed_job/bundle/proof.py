"""Golden vectors made, and held against implementations that share nothing with the graph."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from embed_job.bundle import Bundle
from embed_job.bundle.encoder import is_known
from embed_job.bundle.golden import Golden, cosines, embed_golden
from embed_job.bundle.golden_texts import golden_texts
from embed_job.bundle.recipe import Recipe
from embed_job.engine import Engine, Vectors
from embed_job.errors import BundleError
from embed_job.tokenizer import Tokenizer

if TYPE_CHECKING:
    from embed_job.bundle.export import TorchReference
    from embed_job.bundle.reference import Reference

LEAST_COSINE = 0.99999
"""fp32 against fp32 reaches 0.9999999; a wrong epsilon or GELU costs more than this leaves."""
_REFERENCE_TEXTS = 8

Independent = Callable[[Path, Sequence[str]], Vectors]
"""Vectors of texts (prompts are in them) by another implementation, from a model's folder."""


def make_golden(bundle: Bundle, engine: Engine, tokenizer: Tokenizer) -> Golden:
    """The golden texts and the engine's vectors of them; BundleError where one is NaN or zero."""
    texts = golden_texts(bundle.info.prompts.values())
    made = embed_golden(texts, engine, tokenizer, max_tokens=bundle.max_tokens)
    vectors = np.concatenate(list(made))
    if not np.isfinite(vectors).all() or not np.linalg.norm(vectors, axis=1).all():
        raise BundleError(
            bundle.info.source, "gives vectors that are NaN or zero", "Choose another model."
        )
    return Golden(texts, vectors)


def prove(
    recipe: Recipe, golden: Golden, tokenizer: Tokenizer, *, independent: Mapping[str, Independent]
) -> dict[str, float]:
    """Least cosine of the golden vectors against each implementation, by its name.

    Plain numpy is always one where the architecture is known, torch where it is not.
    BundleError below 0.99999.
    """
    name = "numpy" if is_known(recipe.architecture) else "torch"
    checks = {name: _against_reference(recipe, golden, tokenizer)}
    for name, embed in independent.items():
        made = embed(recipe.folder, golden.texts)
        checks[name] = float(cosines(made, golden.vectors).min())
    for name, least in checks.items():
        if not least >= LEAST_COSINE:
            raise BundleError(
                str(recipe.folder),
                f"the graph's vectors differ from those of {name} "
                f"(cosine {least:.6f}, at least {LEAST_COSINE})",
                "This model can't be reproduced exactly; please report it.",
            )
    return checks


def _against_reference(recipe: Recipe, golden: Golden, tokenizer: Tokenizer) -> float:
    """Least cosine against one text at a time, over some short texts and a long one."""
    reference = _reference(recipe)
    rows = [*range(_REFERENCE_TEXTS), len(golden.texts) - 4]
    tokens, _ = tokenizer.encode_truncated([golden.texts[row] for row in rows], recipe.max_tokens)
    made = [
        reference.embed(tokens.ids[start:end].tolist())
        for start, end in zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True)
    ]
    return float(cosines(np.stack(made), golden.vectors[rows]).min())


def _reference(recipe: Recipe) -> Reference | TorchReference:
    if is_known(recipe.architecture):
        from embed_job.bundle.reference import Reference

        return Reference(recipe)
    from embed_job.bundle.export import TorchReference

    return TorchReference(recipe)


def installed_peers() -> dict[str, Independent]:
    """sentence-transformers, where it is installed."""
    if importlib.util.find_spec("sentence_transformers") is None:
        return {}
    return {"sentence-transformers": embed_with_sentence_transformers}


def embed_with_sentence_transformers(folder: Path, texts: Sequence[str]) -> Vectors:
    """Vectors by sentence-transformers in fp32 on the CPU; the model's own code is not run."""
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    # A missing pooler would be reported, and is not used.
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": "float32"})
    vectors: Vectors = model.encode(
        list(texts), prompt="", batch_size=8, show_progress_bar=False, convert_to_numpy=True
    )
    return vectors
