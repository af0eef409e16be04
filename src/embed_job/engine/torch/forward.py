"""The packed forward: texts behind each other, nothing padded but the end of the batch."""

from __future__ import annotations

import torch
from torch import Tensor

from embed_job.engine.torch.attention import (
    Attend,
    Layout,
    attend_padded,
    layout_of,
    padded_mask,
)
from embed_job.engine.torch.distance import distance_bias
from embed_job.engine.torch.layers import LayerNorm, TransformerLayer
from embed_job.engine.torch.pooling import Pooler
from embed_job.engine.torch.rotary import rotations_of
from embed_job.engine.torch.stack import Stack


class PackedModel(torch.nn.Module):
    """An encoder with its pooler, on one device, for inference alone.

    dimension: numbers of a vector. pads: attention works on rows of max_length, so that cost and
    memory grow with texts times max_length. capturable: nothing waits for the device and no
    branch hangs on data, so that the pass can be compiled or captured.
    """

    capturable = True
    words: Tensor
    positions: Tensor | None
    distances: Tensor | None

    def __init__(
        self,
        stack: Stack,
        pooler: Pooler,
        attend: Attend,
        *,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self.dimension, self.pads = pooler.dimension, attend is attend_padded
        self._dtype = dtype
        self._pad, self._windows = stack.positions_pad, {block.window for block in stack.blocks}
        self.register_buffer("words", torch.from_numpy(stack.words).to(device, dtype))
        positions = stack.positions
        table = None if positions is None else torch.from_numpy(positions).to(device, dtype)
        self.register_buffer("positions", table)
        bias = None if stack.relative_bias is None else distance_bias(stack).to(device, dtype)
        self.register_buffer("distances", bias)
        self.norm = LayerNorm(stack.norm, stack.epsilon, device, dtype)
        rotations = rotations_of(stack, device)
        self.layers = torch.nn.ModuleList(
            TransformerLayer(stack, block, attend, rotations, device=device, dtype=dtype)
            for block in stack.blocks
        )
        final = stack.final_norm
        self.final = None if final is None else LayerNorm(final, stack.epsilon, device, dtype)
        self.pooler = pooler
        self.eval()

    def forward(self, ids: Tensor, cu_seqlens: Tensor, max_length: int) -> Tensor:
        """Vectors of a batch, float32 [texts, dimension]; zeros for texts without tokens.

        ids: int32 [tokens], text after text; the padding at the end holds any known id.
        cu_seqlens: int32 [texts + 1], from 0; the rest of a fixed number of texts repeats its last
        value. max_length: at least the longest text. A vector that overflowed holds NaN or
        infinity.
        """
        layout = layout_of(cu_seqlens, tokens=len(ids), max_length=max_length)
        states = self.norm(self._embed(ids, layout))
        masks = self._masks(layout)
        chosen = self.pooler.chosen(layout, tokens=len(ids))
        last = len(self.layers) - 1
        for number, layer in enumerate(self.layers):
            # The last layer computes no more tokens than the vectors are made of.
            states = layer(states, layout, masks, chosen if number == last else None)
        states = states if self.final is None else self.final(states)
        vectors: Tensor = self.pooler(states, layout)
        return vectors

    def _embed(self, ids: Tensor, layout: Layout) -> Tensor:
        words = self.words[ids]
        if self.positions is None:
            return words
        places = layout.positions
        if self._pad is not None:
            # RoBERTa's: counted from the row after the padding's, over tokens that are none.
            real = ids != self._pad
            counted = real.cumsum(0, dtype=torch.int32)
            starts = layout.cu_seqlens[layout.segments].clamp(max=len(ids) - 1)
            before = (counted - real.int())[starts]
            places = torch.where(real, counted - before, 0) + self._pad
        return words + self.positions[places.clamp(min=0, max=len(self.positions) - 1)]

    def _masks(self, layout: Layout) -> dict[int | None, Tensor]:
        """A mask for each window, where attention is padded."""
        if not self.pads:
            return {}
        bias = None
        if self.distances is not None:
            places = torch.arange(layout.max_length, device=layout.cu_seqlens.device)
            middle = self.distances.shape[1] // 2
            bias = self.distances[:, places - places[:, None] + middle]
        return {
            window: padded_mask(layout, window=window, bias=bias, dtype=self._dtype)
            for window in self._windows
        }
