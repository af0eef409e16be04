"""The CPU engine: ONNX Runtime on a bundle's graph."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from embed_job.bundle import Bundle, graph_file
from embed_job.engine import Tokens, Vectors, pad
from embed_job.engine.facts import EngineFacts
from embed_job.errors import BundleError

BATCH_TOKENS = 512
"""Small batches stay in a core's cache."""


class OnnxEngine:
    """A bundle's graph, loaded. threads: cores that one batch is computed on."""

    def __init__(self, bundle: Bundle, *, precision: str, threads: int) -> None:
        self.batch_tokens = BATCH_TOKENS
        self.packs = False
        self.facts = EngineFacts("onnx", "CPU")
        self.dimension = bundle.dimension
        self._max_tokens = bundle.max_tokens
        self._pad_token_id = bundle.info.pad_token_id
        self._session = _session(bundle, precision=precision, threads=threads)

    def embed(self, batch: Tokens) -> Vectors:
        """Vectors of one batch, padded to its longest text: float32 [len(batch), dimension].

        A text without any token gets zeros.
        """
        if len(batch) == 0:
            return np.empty((0, self.dimension), np.float32)
        lengths = batch.lengths.astype(np.int32)
        if int(lengths.max()) > self._max_tokens:
            raise ValueError(f"a text has {lengths.max()} tokens, {self._max_tokens} at most")
        ids = pad(batch, pad_token_id=self._pad_token_id)
        vectors: Vectors = self._session.run(["vectors"], {"ids": ids, "lengths": lengths})[0]
        return vectors

    def embed_each(self, batches: Iterable[Tokens]) -> Iterator[Vectors]:
        """Vectors of batch after batch, one at a time."""
        return map(self.embed, batches)

    def padded_tokens(self, batch: Tokens) -> int:
        """Tokens computed for a batch: its rows times its longest text."""
        return len(batch) * int(batch.lengths.max(initial=0))


def refuse_telemetry() -> None:
    """To be called before onnxruntime is imported: it reports its use to its maker over the
    network, unless its environment says no when it starts."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"


def _session(bundle: Bundle, *, precision: str, threads: int) -> Any:
    refuse_telemetry()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Each batch has a shape of its own: a memory pattern a shape would pile up.
    options.enable_mem_pattern = False
    # Workers are as many as cores: a thread that spins takes another worker's time.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    path = bundle.path / graph_file(precision)
    if not path.is_file():
        raise BundleError(
            str(bundle.path),
            f"has no {precision} graph: its {precision} is computed by the native engine",
            "Leave model.engine out, and run `embed-job doctor` where there are no native kernels.",
        )
    try:
        return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    except Exception as error:
        # onnxruntime's errors have no public base class but Exception.
        raise BundleError(
            str(path),
            f"ONNX Runtime can't load it ({str(error)[:200]})",
            f"Make it again: embed-job bundle {bundle.info.source} --out {bundle.path}",
        ) from error
