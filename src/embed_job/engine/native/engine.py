"""The engine: batches in, through the kernels, vectors out."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import numpy.typing as npt

from embed_job.bundle import Bundle
from embed_job.bundle.encoder import Encoder
from embed_job.bundle.mapped import read_mapped
from embed_job.engine import Tokens, Vectors
from embed_job.engine.facts import EngineFacts
from embed_job.engine.native import why_not
from embed_job.engine.native.head import apply_head
from embed_job.engine.native.library import load_library
from embed_job.engine.native.pack import pack_model
from embed_job.errors import BundleError

BATCH_TOKENS = 512
"""Of each thread: enough rows for whole tiles, few enough to stay in a core's cache."""
_ALIGN_BYTES = 64


class NativeEngine:
    """A bundle's encoder, packed. threads: cores that one batch is computed on.

    variant: the instruction set by name; None: the best that this processor has. Each thread
    computes some of a batch's texts; a text's vector does not depend on the others by more than
    rounding. BundleError where the bundle can't be run here.
    """

    def __init__(
        self, bundle: Bundle, *, precision: str, threads: int, variant: str | None = None
    ) -> None:
        reason = why_not(bundle, precision=precision)
        library = load_library(variant)
        if reason is not None or library is None:
            raise BundleError(
                str(bundle.path),
                f"the native engine can't run it here: {reason or f'no {variant} kernels'}",
                "Set model.engine to onnx, which runs any bundle.",
            )
        mapped = read_mapped(bundle.path, bundle.info.head)
        _check_positions(bundle, mapped.encoder)
        self.batch_tokens = BATCH_TOKENS * threads
        self.dimension = bundle.dimension
        self.packs = True
        self.facts = EngineFacts("native", "CPU", library.variant)
        self._max_tokens = bundle.max_tokens
        self._head, self._dense = bundle.info.head, mapped.dense
        self._vocabulary, self._hidden = mapped.encoder.words.shape
        self._handle = library.handle
        self._packed = pack_model(
            mapped.encoder, library, pooling=bundle.info.pooling, precision=precision
        )
        self._workspaces = [_Workspace() for _ in range(threads)]
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def embed(self, batch: Tokens) -> Vectors:
        """Vectors of one batch, without padding: float32 [len(batch), dimension].

        A text without any token gets zeros. ValueError for a text that is too long, or an id
        outside the vocabulary.
        """
        ids, offsets = self._checked(batch)
        pooled = np.empty((len(batch), self._hidden), np.float32)
        ends = _shares(offsets, len(self._workspaces))
        starts = [0, *ends[:-1]]
        if self._pool is None:
            self._run(ids, offsets, pooled, self._workspaces[0])
        else:
            runs = [
                self._pool.submit(
                    self._run, ids, offsets[start : end + 1], pooled[start:end], workspace
                )
                for start, end, workspace in zip(starts, ends, self._workspaces, strict=True)
            ]
            # All, before the first error is raised: the next batch is given the same workspaces.
            wait(runs)
            for run in runs:
                run.result()
        vectors = apply_head(pooled, self._head, self._dense)
        vectors[offsets[1:] == offsets[:-1]] = 0
        return vectors

    def embed_each(self, batches: Iterable[Tokens]) -> Iterator[Vectors]:
        """Vectors of batch after batch, one at a time."""
        return map(self.embed, batches)

    def padded_tokens(self, batch: Tokens) -> int:
        """Tokens of the batch: nothing is padded."""
        return len(batch.ids)

    def _checked(self, batch: Tokens) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Ids and offsets that the kernels can't be led astray by."""
        ids = np.ascontiguousarray(batch.ids, np.int32)
        offsets = np.ascontiguousarray(batch.offsets, np.int64)
        lengths = offsets[1:] - offsets[:-1]
        if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != len(ids) or (lengths < 0).any():
            raise ValueError("the offsets of a batch do not fit its ids")
        longest = int(lengths.max(initial=0))
        if longest > self._max_tokens:
            raise ValueError(f"a text has {longest} tokens, {self._max_tokens} at most")
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < self._vocabulary:
            raise ValueError(f"a token's id is not below {self._vocabulary}")
        return ids, offsets

    def _run(
        self,
        ids: npt.NDArray[np.int32],
        offsets: npt.NDArray[np.int64],
        pooled: Vectors,
        workspace: _Workspace,
    ) -> None:
        """Pooled states of some texts in a row, by one thread; the kernels let others run."""
        first, tokens = int(offsets[0]), int(offsets[-1] - offsets[0])
        own = offsets - first
        longest = int((own[1:] - own[:-1]).max(initial=0))
        model = ctypes.byref(self._packed.model)
        room = workspace.of(self._handle.workspace_bytes(model, tokens, longest))
        self._handle.forward(
            model,
            len(own) - 1,
            own.ctypes.data,
            ids.ctypes.data + first * ids.itemsize,
            pooled.ctypes.data,
            room,
        )


def _check_positions(bundle: Bundle, encoder: Encoder) -> None:
    pad = encoder.positions_pad
    if bundle.max_tokens + (0 if pad is None else pad + 1) > len(encoder.positions):
        raise BundleError(
            str(bundle.path),
            f"has positions for fewer than its {bundle.max_tokens} tokens",
            "Make the bundle again.",
        )


class _Workspace:
    """Memory of one thread: as much as its largest batch so far needed."""

    def __init__(self) -> None:
        self._memory = np.empty(0, np.uint8)

    def of(self, size_bytes: int) -> int:
        """The address of so many bytes, aligned to a cache line; what they hold is left as is."""
        if len(self._memory) < size_bytes + _ALIGN_BYTES:
            self._memory = np.empty(0, np.uint8)  # old and new at once would be twice as much
            self._memory = np.empty(size_bytes + _ALIGN_BYTES, np.uint8)
        address = int(self._memory.ctypes.data)
        return address + -address % _ALIGN_BYTES


def _shares(offsets: npt.NDArray[np.int64], threads: int) -> list[int]:
    """Where each thread's texts end: as many tokens each as whole texts allow."""
    texts = len(offsets) - 1
    goals = offsets[-1] * np.arange(1, threads) / threads
    return [*map(int, np.searchsorted(offsets[:-1], goals)), texts]
