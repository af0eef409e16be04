"""The parts of an encoder's layer, as modules that hold their weights on a device."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from embed_job.engine.torch.attention import Attend, Layout
from embed_job.engine.torch.rotary import Rotation
from embed_job.engine.torch.stack import Affine, Block, Scale, Stack

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,  # by erf, not tanh
    "relu": functional.relu,
    "silu": functional.silu,
}


class Linear(torch.nn.Module):
    """x @ weight.T + bias."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, affine: Affine, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        # Contiguous in the order of its shape, which multiplies fastest.
        weight = torch.from_numpy(affine.weight).to(device, dtype).contiguous()
        self.register_buffer("weight", weight)
        bias = None if affine.bias is None else torch.from_numpy(affine.bias).to(device, dtype)
        self.register_buffer("bias", bias)

    def forward(self, states: Tensor) -> Tensor:
        return functional.linear(states, self.weight, self.bias)


class LayerNorm(torch.nn.Module):
    """Layer normalisation; torch accumulates it in fp32."""

    gamma: Tensor
    beta: Tensor | None

    def __init__(
        self, scale: Scale, epsilon: float, device: torch.device, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self._epsilon = epsilon
        self.register_buffer("gamma", torch.from_numpy(scale.gamma).to(device, dtype))
        beta = None if scale.beta is None else torch.from_numpy(scale.beta).to(device, dtype)
        self.register_buffer("beta", beta)

    def forward(self, states: Tensor) -> Tensor:
        shape = self.gamma.shape
        return functional.layer_norm(states, shape, self.gamma, self.beta, self._epsilon)


class TransformerLayer(torch.nn.Module):
    """One layer: attention, then the wide layer, each with its residual."""

    def __init__(
        self,
        stack: Stack,
        block: Block,
        attend: Attend,
        rotations: Mapping[float, Rotation],
        *,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self._attend, self._window, self._heads = attend, block.window, stack.heads
        self._gated, self._pre = stack.gated, stack.pre_norm
        self._activate = _ACTIVATIONS[stack.activation]
        self.qkv = Linear(block.qkv, device, dtype)
        self.out = Linear(block.out, device, dtype)
        self.up = Linear(block.up, device, dtype)
        self.down = Linear(block.down, device, dtype)
        scale = block.attention_norm
        self.norm1 = None if scale is None else LayerNorm(scale, stack.epsilon, device, dtype)
        self.norm2 = LayerNorm(block.output_norm, stack.epsilon, device, dtype)
        self.rotation = None if block.theta is None else rotations[block.theta]

    def forward(
        self,
        states: Tensor,
        layout: Layout,
        masks: dict[int | None, Tensor],
        chosen: Tensor | None,
    ) -> Tensor:
        """States after the layer: of all tokens, or of the chosen ones."""
        first = states if self.norm1 is None or not self._pre else self.norm1(states)
        mixed = self._mix(first, layout, masks)
        if chosen is not None:
            states, mixed = states[chosen], mixed[chosen]
        states = states + self.out(mixed)
        if self._pre:
            return states + self._widen(self.norm2(states))
        states = states if self.norm1 is None else self.norm1(states)
        after: Tensor = self.norm2(states + self._widen(states))
        return after

    def _mix(self, states: Tensor, layout: Layout, masks: dict[int | None, Tensor]) -> Tensor:
        query, key, value = self.qkv(states).unflatten(1, (3, self._heads, -1)).unbind(1)
        if self.rotation is not None:
            query = self.rotation(query, layout.positions)
            key = self.rotation(key, layout.positions)
        mask = masks.get(self._window)
        return self._attend((query, key, value), layout, window=self._window, mask=mask)

    def _widen(self, states: Tensor) -> Tensor:
        wide: Tensor = self.up(states)
        if self._gated:
            active, linear = wide.chunk(2, dim=-1)
            wide = self._activate(active) * linear
        else:
            wide = self._activate(wide)
        narrow: Tensor = self.down(wide)
        return narrow
