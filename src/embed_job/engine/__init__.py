"""The forward pass: token ids in, one vector a text out."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from embed_job.engine.facts import EngineFacts
from embed_job.errors import SpecError

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
    """A loaded model. It lives in one process and is used by one thread at a time.

    dimension: numbers of a vector. batch_tokens: the budget of a batch, padding included, that
    serves this engine best where the spec says auto. packs: whether texts are computed without
    padding, so that a batch takes as many tokens as its texts have together. facts: what runs, for
    logs and reports.
    """

    dimension: int
    batch_tokens: int
    packs: bool
    facts: EngineFacts

    def embed(self, batch: Tokens) -> Vectors:
        """Vectors of one batch, float32 [len(batch), dimension], pooled and normalised as the
        bundle says, in the order of the batch. Each text is at most the model's maximum long.

        How a text is batched changes its vector by rounding alone.
        """
        ...

    def embed_each(self, batches: Iterable[Tokens]) -> Iterator[Vectors]:
        """As embed, batch after batch and in their order; several may be under way at a time."""
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


def choose_engine(bundle: Bundle, model_spec: ModelSpec) -> str:
    """The engine that a spec means on this machine: its own choice, or what auto comes to.

    Raises SpecError as of check_machine.
    """
    if model_spec.engine != "auto":
        return model_spec.engine
    from embed_job.engine import native, torch

    check_machine(model_spec)
    if torch.has_gpu() and model_spec.precision != "int8":
        return "torch"
    if native.can_run(bundle, precision=model_spec.precision):
        return "native"
    return "onnx"


def check_machine(model_spec: ModelSpec) -> None:
    """Raise SpecError where auto finds no engine on this machine that has the precision."""
    from embed_job.engine import torch
    from embed_job.spec import HALF

    if model_spec.engine == "auto" and model_spec.precision in HALF and not torch.has_gpu():
        raise SpecError(
            "model.precision",
            f"{model_spec.precision} needs a GPU that torch can use, and there is none here",
            "Set fp32. `embed-job doctor` says what is missing; engine: torch computes it on the "
            "processor, slowly.",
        )


def load_engine(bundle: Bundle, model_spec: ModelSpec, *, threads: int) -> Engine:
    """The engine that the spec asks for; threads: cores that one batch is computed on.

    BundleError where the engine can't run the bundle, or not with that precision; SpecError where
    no engine here has it.
    """
    match choose_engine(bundle, model_spec):
        case "null":
            from embed_job.engine.null import NullEngine

            return NullEngine(dimension=bundle.dimension)
        case "native":
            from embed_job.engine.native import NativeEngine

            return NativeEngine(bundle, precision=model_spec.precision, threads=threads)
        case "torch":
            from embed_job.engine.torch import TorchEngine

            return TorchEngine(bundle, precision=model_spec.precision, threads=threads)
        case _:
            from embed_job.engine.onnx import OnnxEngine

            if model_spec.engine == "auto":
                _say_why_not_native(bundle, precision=model_spec.precision)
            return OnnxEngine(bundle, precision=model_spec.precision, threads=threads)


def _say_why_not_native(bundle: Bundle, *, precision: str) -> None:
    """Where the faster engine is kept from a model that it knows, somebody can mend that."""
    from embed_job.bundle.encoder import is_known
    from embed_job.engine import native

    if is_known(bundle.info.architecture):
        reason = native.why_not(bundle, precision=precision)
        logging.getLogger(__name__).warning("onnx embeds, not the faster native engine: %s", reason)
