"""The forward pass: token ids in, one vector a text out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from embed_job.bundle import Bundle
    from embed_job.spec import ModelSpec

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Tokens:
    """The token ids of several texts, without padding.

    ids: int32 [N], text after text, special tokens included. offsets: int64 [texts + 1]; text i
    is ``ids[offsets[i]:offsets[i + 1]]``.
    """

    ids: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each text, int64 [texts]."""
        return self.offsets[1:] - self.offsets[:-1]


class Engine(Protocol):
    """A loaded model. It lives in one process and is used by one thread."""

    dimension: int

    def embed(self, batch: Tokens) -> Vectors:
        """Vectors of one batch, float32 [len(batch), dimension], pooled and normalised as the
        bundle says, in the order of the batch. Each text is at most the model's maximum long.

        How a text is batched changes its vector by rounding alone.
        """
        ...

    def padded_tokens(self, batch: Tokens) -> int:
        """Tokens computed for a batch, padding included."""
        ...


def pad(batch: Tokens, *, pad_token_id: int) -> npt.NDArray[np.int32]:
    """Ids as a matrix, int32 [texts, longest or 1], filled up on the right with pad_token_id."""
    lengths = batch.lengths
    width = max(1, int(lengths.max(initial=0)))
    ids = np.full((len(batch), width), pad_token_id, np.int32)
    ids[np.arange(width) < lengths[:, None]] = batch.ids
    return ids


def load_engine(bundle: Bundle, model_spec: ModelSpec, *, threads: int) -> Engine:
    """The engine that the spec asks for; threads: cores that one batch is computed on."""
    if model_spec.engine == "null":
        from embed_job.engine.null import NullEngine

        return NullEngine(dimension=bundle.dimension)
    from embed_job.engine.onnx import OnnxEngine

    return OnnxEngine(bundle, precision=model_spec.precision, threads=threads)
