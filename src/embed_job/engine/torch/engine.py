"""The engine on torch: batches in a few shapes through slots of pinned memory."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from embed_job.engine import Tokens, Vectors
from embed_job.engine.facts import EngineFacts
from embed_job.engine.torch.compiled import Compiled
from embed_job.engine.torch.memory import cost_of, halves, is_out_of_memory, pieces
from embed_job.engine.torch.shapes import Shape, shape_of
from embed_job.engine.torch.slots import Ring, Ticket

if TYPE_CHECKING:
    from embed_job.bundle import Bundle
    from embed_job.engine.torch.slots import Forward

CUDA_BATCH_TOKENS = 65_536
"""Keeps a large GPU busy for milliseconds, which hides what Python does for a batch."""
CPU_BATCH_TOKENS = 2_048

_LOG = logging.getLogger(__name__)


class TorchEngine:
    """A bundle's model on torch, on the GPU where there is one.

    threads: cores that one batch is computed on where there is none. model: what is run instead
    of the bundle's own; it has dimension, pads and capturable, as PackedModel has.
    """

    def __init__(self, bundle: Bundle, *, precision: str, threads: int, model: Any = None) -> None:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if device.type == "cpu":
            torch.set_num_threads(threads)
        if model is None:
            from embed_job.engine.torch.load import load_model

            model = load_model(bundle, precision=precision, device=device)
            if device.type == "cuda":
                # Weights were made on another stream than the one that is going to read them.
                torch.cuda.synchronize(device)
        self.dimension: int = model.dimension
        self.packs = not model.pads
        self.batch_tokens = CUDA_BATCH_TOKENS if device.type == "cuda" else CPU_BATCH_TOKENS
        self.facts = _facts(device)
        self._max_tokens = bundle.max_tokens
        self._limit: int | None = None
        self._device = device
        is_compiled = device.type == "cuda" and model.capturable
        self._forward: Forward = Compiled(model) if is_compiled else model
        self._ring = Ring(device, dimension=self.dimension, pad_token_id=bundle.info.pad_token_id)

    def embed(self, batch: Tokens) -> Vectors:
        """Vectors of one batch, float32 [len(batch), dimension].

        Raises what torch says of its memory where one of its texts does not even fit alone.
        """
        return next(self.embed_each([batch]))

    def embed_each(self, batches: Iterable[Tokens]) -> Iterator[Vectors]:
        """As embed, batch after batch; on a GPU, two more are under way while one is taken."""
        waiting: deque[list[Ticket]] = deque()
        for batch in batches:
            waiting.append(self._submit(batch))
            if len(waiting) >= self._ring.size:
                yield self._vectors(waiting.popleft())
        while waiting:
            yield self._vectors(waiting.popleft())

    def padded_tokens(self, batch: Tokens) -> int:
        """Tokens computed for a batch: those of its shape where the model packs, else its rows
        times its longest text."""
        if len(batch) == 0:
            return 0
        shape = self._shape_of(batch)
        return shape.tokens if self.packs else shape.texts * shape.longest

    def _vectors(self, tickets: list[Ticket]) -> Vectors:
        if len(tickets) == 1:
            return tickets[0].vectors()
        parts = [np.empty((0, self.dimension), np.float32)]
        return np.concatenate([*parts, *(ticket.vectors() for ticket in tickets)])

    def _submit(self, batch: Tokens) -> list[Ticket]:
        """Hand a batch in, in pieces where memory has shown to be too small for it whole."""
        if len(batch) == 0:
            return []
        if int(batch.lengths.max()) > self._max_tokens:
            raise ValueError(f"a text has {batch.lengths.max()} tokens, {self._max_tokens} at most")
        todo = deque([batch])
        if self._limit is not None:
            todo = deque(pieces(batch, self._limit, packs=self.packs))
        tickets: list[Ticket] = []
        while todo:
            ticket = self._try(todo[0])
            if ticket is None:
                todo.extendleft(reversed(halves(todo.popleft())))
            else:
                tickets.append(ticket)
                todo.popleft()
        return tickets

    def _try(self, batch: Tokens) -> Ticket | None:
        """None where memory is too small for the batch, which is remembered."""
        try:
            return self._ring.submit(batch, self._shape_of(batch), self._forward)
        except RuntimeError as error:
            if len(batch) == 1 or not is_out_of_memory(error):
                raise
        # Outside the handler: its traceback holds on to what the model had allocated.
        self._shrink(batch)
        return None

    def _shrink(self, batch: Tokens) -> None:
        if self._limit is None:
            _LOG.warning(
                "GPU memory is too small for batches of %d tokens; they are halved from now on",
                len(batch.ids),
            )
        self._limit = max(1, cost_of(batch, packs=self.packs) // 2)
        self.batch_tokens = min(self.batch_tokens, self._limit)
        if self._device.type == "cuda":
            # What was begun of the batch still reads memory that is free for the next one.
            torch.cuda.synchronize(self._device)
            torch.cuda.empty_cache()

    def _shape_of(self, batch: Tokens) -> Shape:
        return shape_of(batch, max_tokens=self._max_tokens, packs=self.packs)


def _facts(device: torch.device) -> EngineFacts:
    if device.type == "cpu":
        return EngineFacts("torch", "CPU")
    major, minor = torch.cuda.get_device_capability(device)
    return EngineFacts("torch", torch.cuda.get_device_name(device), f"sm_{major}{minor}")
