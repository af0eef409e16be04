"""From the states of a text's tokens to its vector, in fp32."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from embed_job.bundle.info import Dense, HeadStep, Pooling
from embed_job.engine.torch.attention import Layout
from embed_job.engine.torch.layers import Linear
from embed_job.engine.torch.stack import Affine


def mean_by_text(states: Tensor, layout: Layout) -> Tensor:
    """The mean of each text's states, float32 [texts, hidden]; zeros without tokens.

    states: float32 [tokens, hidden]. Sums run in the order of the tokens, so that they are the
    same each time; tokens past the last text are left out.
    """
    total = torch.segment_reduce(
        states, "sum", offsets=layout.cu_seqlens, axis=0, unsafe=True, initial=0
    )  # unsafe: does not read the offsets back to check them
    return total / layout.lengths.clamp(min=1)[:, None]


class Pooler(torch.nn.Module):
    """Pooling and what follows it: dense layers and normalisation.

    hidden: numbers of a token's state. dimension: numbers of a vector.
    """

    def __init__(
        self,
        pooling: Pooling,
        steps: Sequence[HeadStep],
        dense: Sequence[Affine],
        *,
        hidden: int,
        device: torch.device,
    ) -> None:
        super().__init__()
        self.dimension = len(dense[-1].weight) if dense else hidden
        self._pooling, self._steps = pooling, tuple(steps)
        self._dense = torch.nn.ModuleList(Linear(affine, device, torch.float32) for affine in dense)

    def chosen(self, layout: Layout, *, tokens: int) -> Tensor | None:
        """The one token of each text that its vector is made of, int64 [texts]; None: the mean."""
        if self._pooling == "mean":
            return None
        first, last = layout.cu_seqlens[:-1], layout.cu_seqlens[1:] - 1
        places = first if self._pooling == "cls" else last
        return places.long().clamp(min=0, max=tokens - 1)

    def forward(self, states: Tensor, layout: Layout) -> Tensor:
        """Vectors, float32 [texts, dimension]; zeros for texts without tokens.

        states: those of all tokens for the mean, else those of the chosen ones.
        """
        pooled = states.float()
        if self._pooling == "mean":
            pooled = mean_by_text(pooled, layout)
        dense = iter(self._dense)
        for step in self._steps:
            if isinstance(step, Dense):
                pooled = next(dense)(pooled)
                pooled = torch.tanh(pooled) if step.activation == "tanh" else pooled
            else:
                pooled = functional.normalize(pooled, p=2.0, dim=-1)
        return torch.where(layout.lengths[:, None] > 0, pooled, 0.0)
