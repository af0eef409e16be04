"""Golden vectors: a few dozen texts that each worker embeds before it may work."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from embed_job.arrays import save_array
from embed_job.bundle.files import read_json
from embed_job.errors import BundleError

if TYPE_CHECKING:
    from embed_job.bundle import Bundle
    from embed_job.engine import Engine, Vectors
    from embed_job.tokenizer import Tokenizer

TEXTS_FILE = "golden.json"
START_CHARACTERS = 800
"""Characters embedded at a worker's start: about 0.1 s with MiniLM on one core."""
LEAST_COSINE = {"fp32": 0.9999, "fp16": 0.9999, "bf16": 0.999, "int8": 0.999}
"""By precision. int8 is held against vectors of its own: 0.999 leaves room for the rounding of
other processors, which a whole step of an 8-bit number may follow from."""
_OWN_VECTORS = ("fp32", "int8")
"""The others are held against those of fp32."""
_GROUP = 4
"""Texts of a batch. ONNX Runtime's int8 scales activations by batch, so the groups are fixed."""


@dataclass(frozen=True, slots=True)
class Golden:
    """Texts with their prompts before them, and their vectors float32 [texts, dimension]."""

    texts: tuple[str, ...]
    vectors: npt.NDArray[np.float32]


def vectors_file(precision: str) -> str:
    return f"golden.{precision}.npy"


def save_golden(folder: Path, precision: str, golden: Golden) -> None:
    """Write the texts and one precision's vectors."""
    content = json.dumps(golden.texts, ensure_ascii=True, indent=0)
    (folder / TEXTS_FILE).write_text(content, encoding="utf-8")
    save_array(folder / vectors_file(precision), golden.vectors)


def load_golden(folder: Path, precision: str) -> Golden:
    """Read them; BundleError where they are missing or don't fit together."""
    path = folder / vectors_file(precision)
    texts = read_json(folder / TEXTS_FILE)
    try:
        vectors = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BundleError(str(path), "can't be read", "Make the bundle again.") from error
    if (
        not isinstance(texts, list)
        or not texts
        or not all(isinstance(text, str) for text in texts)
        or vectors.dtype != np.float32
        or vectors.ndim != 2
        or len(vectors) != len(texts)
    ):
        raise BundleError(str(path), "does not fit its texts", "Make the bundle again.")
    return Golden(tuple(texts), vectors)


def embed_golden(
    texts: Sequence[str], engine: Engine, tokenizer: Tokenizer, *, max_tokens: int
) -> Iterator[Vectors]:
    """Vectors of the texts (prompts are in them), one fixed group after the other."""
    plain = tokenizer.with_prompt("")
    for start in range(0, len(texts), _GROUP):
        tokens, _ = plain.encode_truncated(texts[start : start + _GROUP], max_tokens)
        yield engine.embed(tokens)


def check_golden(
    bundle: Bundle,
    engine: Engine,
    tokenizer: Tokenizer,
    *,
    precision: str,
    max_characters: int = START_CHARACTERS,
) -> float:
    """The least cosine between the engine's vectors and the bundle's own, over the first texts.

    Takes texts until max_characters are reached. BundleError where the engine's dimension
    is another, or the cosine is below LEAST_COSINE.
    """
    golden = load_golden(bundle.path, precision if precision in _OWN_VECTORS else "fp32")
    where = str(bundle.path)
    if golden.vectors.shape[1] != bundle.dimension or engine.dimension != bundle.dimension:
        raise BundleError(
            where,
            f"its dimension {bundle.dimension} is not that of its graph or golden vectors",
            f"Make it again: embed-job bundle {bundle.info.source} --out {bundle.path}",
        )
    texts = _beginning(golden.texts, max_characters)
    made = list(embed_golden(texts, engine, tokenizer, max_tokens=bundle.max_tokens))
    least = float(cosines(np.concatenate(made), golden.vectors[: len(texts)]).min())
    if not least >= LEAST_COSINE[precision]:
        raise BundleError(
            where,
            f"its {precision} does not reproduce its golden vectors here "
            f"(cosine {least:.6f}, at least {LEAST_COSINE[precision]})",
            "Nothing was embedded. Make the bundle again on this machine, and report it if that "
            "does not help.",
        )
    return least


def _beginning(texts: Sequence[str], max_characters: int) -> Sequence[str]:
    """The first whole groups of texts within max_characters; one group at least."""
    sizes = np.cumsum([len(text) for text in texts])
    groups = max(1, int(np.searchsorted(sizes, max_characters, side="right")) // _GROUP)
    return texts[: groups * _GROUP]


def cosines(left: Vectors, right: Vectors) -> npt.NDArray[np.float64]:
    """Cosines of two matrices' rows, float64; NaN where a row is zero."""
    a, b = left.astype(np.float64), right.astype(np.float64)
    sizes = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        result: npt.NDArray[np.float64] = (a * b).sum(axis=1) / sizes
    return result
