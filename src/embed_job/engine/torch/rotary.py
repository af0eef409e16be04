"""Rotary positions: query and key turned by angles that grow with the place in the text.

Su et al., RoFormer (arXiv:2104.09864); the halves of a head are turned against each other, as
GPT-NeoX does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from embed_job.engine.torch.stack import Stack


class Rotation(torch.nn.Module):
    """Cosines and sines of each place, float32 [max_tokens, head_size ÷ 2]."""

    cosines: Tensor
    sines: Tensor

    def __init__(
        self, theta: float, *, head_size: int, max_tokens: int, device: torch.device
    ) -> None:
        super().__init__()
        exponents = torch.arange(0, head_size, 2, dtype=torch.float32) / head_size
        places = torch.arange(max_tokens, dtype=torch.float32)
        angles = places[:, None] / theta**exponents
        self.register_buffer("cosines", angles.cos().to(device))
        self.register_buffer("sines", angles.sin().to(device))

    def forward(self, states: Tensor, positions: Tensor) -> Tensor:
        """states [tokens, heads, head_size], turned in fp32, in their own type."""
        places = positions.clamp(max=len(self.cosines) - 1)
        cosines, sines = self.cosines[places][:, None], self.sines[places][:, None]
        left, right = states.float().chunk(2, dim=-1)
        turned = torch.cat([left * cosines - right * sines, right * cosines + left * sines], -1)
        return turned.to(states.dtype)


def rotations_of(stack: Stack, device: torch.device) -> dict[float, Rotation]:
    """The rotation of each base that a layer of the stack has."""
    bases = {block.theta for block in stack.blocks if block.theta is not None}
    return {
        theta: Rotation(
            theta, head_size=stack.head_size, max_tokens=stack.max_tokens, device=device
        )
        for theta in bases
    }
