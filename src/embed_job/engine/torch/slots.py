"""Slots: places in pinned memory through which batches go to the device and their vectors back.

A batch goes over in one copy (ids and bounds side by side), is computed, and its vectors come back,
each on a stream of its own, so that the copies of one batch run while another is computed. On a
CPU there is one slot and no stream: a batch is done when it is handed in.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch

from embed_job.engine import Tokens, Vectors
from embed_job.engine.torch.shapes import Shape

CUDA_SLOTS = 3
"""One is filled, one is computed, one is emptied."""


class Forward(Protocol):
    """The model: ids int32 [tokens] and bounds int32 [texts + 1] on the device to vectors float32
    [texts, dimension] there. ids after the last bound belong to no text; a text may be empty."""

    def __call__(
        self, ids: torch.Tensor, bounds: torch.Tensor, longest: int, /
    ) -> torch.Tensor: ...


class Ticket:
    """Vectors that are on their way."""

    def __init__(self, slot: Slot, texts: int) -> None:
        self._slot = slot
        self._texts = texts
        self._vectors: Vectors | None = None

    def vectors(self) -> Vectors:
        """float32 [texts, dimension]; waits for them."""
        if self._vectors is None:
            self._vectors = self._slot.wait(self._texts)
        return self._vectors


class Slot:
    """One place; it holds one batch at a time."""

    def __init__(self, device: torch.device, *, dimension: int, pad_token_id: int) -> None:
        self._device = device
        self._dimension = dimension
        self._pad_token_id = pad_token_id
        self._is_cuda = device.type == "cuda"
        self._words = self._pinned(0, torch.int32)
        self._out = self._pinned(0, torch.float32)
        self._ticket: Ticket | None = None
        # Waiting by polling would take a core from the threads that tokenise.
        self._done = _event() if self._is_cuda else None

    def _pinned(self, size: int, dtype: torch.dtype) -> torch.Tensor:
        return torch.empty(size, dtype=dtype, pin_memory=self._is_cuda)

    def submit(self, batch: Tokens, shape: Shape, forward: Forward, streams: Streams) -> Ticket:
        """Hand a batch in; what was here before is waited for. Raises what forward raises, and
        is free again then."""
        if self._ticket is not None:
            self._ticket.vectors()
        with torch.inference_mode():
            with torch.cuda.stream(streams.inwards):
                words = self._filled(batch, shape).to(self._device, non_blocking=True)
            streams.hand_over(words, streams.inwards, streams.compute)
            with torch.cuda.stream(streams.compute):
                vectors = forward(words[: shape.tokens], words[shape.tokens :], shape.longest)
            streams.hand_over(vectors, streams.compute, streams.outwards)
            with torch.cuda.stream(streams.outwards):
                self._out_for(len(batch), shape).copy_(vectors[: len(batch)], non_blocking=True)
        if self._done is not None:
            self._done.record(streams.outwards)
        self._ticket = Ticket(self, len(batch))
        return self._ticket

    def _out_for(self, texts: int, shape: Shape) -> torch.Tensor:
        """Where vectors come to lie, float32 [texts, dimension]."""
        if self._out.numel() < texts * self._dimension:
            self._out = self._pinned(shape.texts * self._dimension, torch.float32)
        return self._out[: texts * self._dimension].view(texts, self._dimension)

    def _filled(self, batch: Tokens, shape: Shape) -> torch.Tensor:
        """The batch in pinned memory: int32 [tokens + texts + 1], ids and then bounds, both filled
        up to the shape."""
        size = shape.tokens + shape.texts + 1
        if self._words.numel() < size:
            self._words = self._pinned(size, torch.int32)
        words = self._words[:size]
        ids, bounds = np.split(words.numpy(), [shape.tokens])
        ids[: len(batch.ids)] = batch.ids
        ids[len(batch.ids) :] = self._pad_token_id
        bounds[: len(batch) + 1] = batch.offsets
        bounds[len(batch) + 1 :] = batch.offsets[-1]
        return words

    def wait(self, texts: int) -> Vectors:
        """The vectors of the batch that is here, copied out of the slot."""
        if self._done is not None:
            self._done.synchronize()
        self._ticket = None
        flat = self._out[: texts * self._dimension].numpy()
        vectors: Vectors = flat.reshape(texts, self._dimension).copy()
        return vectors


class Streams:
    """Of one device: for copies to it, for the model, for copies from it; none on a CPU."""

    def __init__(self, device: torch.device) -> None:
        self.inwards, self.compute, self.outwards = (_stream(device) for _ in range(3))

    def hand_over(
        self, made: torch.Tensor, by: torch.cuda.Stream | None, to: torch.cuda.Stream | None
    ) -> None:
        """What ``to`` is given from now on begins when ``made`` is there, whose memory is not given
        away before ``to`` is through with it."""
        if by is not None and to is not None:
            to.wait_stream(by)
            made.record_stream(to)


def _event() -> torch.cuda.Event:
    # torch leaves these constructors without types.
    return torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]


def _stream(device: torch.device) -> torch.cuda.Stream | None:
    return torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]


class Ring:
    """The slots of a device, taken in turn."""

    def __init__(self, device: torch.device, *, dimension: int, pad_token_id: int) -> None:
        self.size = CUDA_SLOTS if device.type == "cuda" else 1
        self._streams = Streams(device)
        self._slots = [
            Slot(device, dimension=dimension, pad_token_id=pad_token_id) for _ in range(self.size)
        ]
        self._turn = 0

    def submit(self, batch: Tokens, shape: Shape, forward: Forward) -> Ticket:
        """As :meth:`Slot.submit`, of the slot that has been in use the longest."""
        ticket = self._slots[self._turn].submit(batch, shape, forward, self._streams)
        self._turn = (self._turn + 1) % self.size
        return ticket
