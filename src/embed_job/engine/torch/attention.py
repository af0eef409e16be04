"""Attention within texts that lie one behind the other, by what the device can do.

Each function takes query, key and value [tokens, heads, size] and gives [tokens, heads · size].
What it gives for tokens past the last text is not defined, and reaches no other token.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from embed_job.engine.torch.stack import Stack

_FLASH_CAPABILITY = (8, 0)
_MAX_FLASH_SIZE = 256


class Layout(NamedTuple):
    """Where the texts of a batch lie.

    cu_seqlens: int32 [texts + 1]; text i is tokens cu_seqlens[i] to cu_seqlens[i + 1]. lengths:
    int32 [texts]. segments, positions: int64 [tokens], each token's text and its place in it; past
    the last text they are any that exist. max_length: at least the longest text.
    """

    cu_seqlens: Tensor
    lengths: Tensor
    segments: Tensor
    positions: Tensor
    max_length: int


class Attend(Protocol):
    """Attention within each text. window: tokens to each side that are seen, None: the text's.
    mask: of ``padded_mask``, for the padded function alone."""

    def __call__(
        self,
        qkv: tuple[Tensor, Tensor, Tensor],
        layout: Layout,
        *,
        window: int | None,
        mask: Tensor | None,
    ) -> Tensor: ...


def layout_of(cu_seqlens: Tensor, *, tokens: int, max_length: int) -> Layout:
    """The layout of a batch of that many tokens, the padding at its end counted in.

    Texts without tokens are none's segment. Everything stays on the device.
    """
    ends = cu_seqlens[1:]
    places = torch.arange(tokens, dtype=cu_seqlens.dtype, device=cu_seqlens.device)
    segments = torch.bucketize(places, ends, right=True)
    positions = places - cu_seqlens[segments]
    return Layout(
        cu_seqlens=cu_seqlens,
        lengths=ends - cu_seqlens[:-1],
        segments=segments.clamp(max=len(ends) - 1),
        positions=positions.long().clamp(max=max_length - 1),
        max_length=max_length,
    )


def attention_for(stack: Stack, device: torch.device, dtype: torch.dtype) -> Attend:
    """The fastest function that computes the stack's attention exactly on a device."""
    return choose_attention(
        torch.cuda.get_device_capability(device) if device.type == "cuda" else None,
        dtype,
        head_size=stack.head_size,
        plain=stack.relative_bias is None,
        windows=any(block.window is not None for block in stack.blocks),
    )


def choose_attention(
    capability: tuple[int, int] | None,
    dtype: torch.dtype,
    *,
    head_size: int,
    plain: bool,
    windows: bool,
) -> Attend:
    """The fastest function that computes this exactly.

    capability: of the CUDA device, None: another device. plain: nothing is added to the scores.
    windows: some layers see a window only.
    """
    if capability is None or not plain or head_size % 8:
        return attend_padded
    half = dtype in (torch.float16, torch.bfloat16)
    if half and capability >= _FLASH_CAPABILITY and head_size <= _MAX_FLASH_SIZE:
        return attend_flash
    return attend_padded if windows else attend_efficient


def attend_flash(
    qkv: tuple[Tensor, Tensor, Tensor],
    layout: Layout,
    *,
    window: int | None,
    mask: Tensor | None,  # noqa: ARG001 - of the padded function
) -> Tensor:
    """FlashAttention over packed texts: fp16 or bf16, compute capability 8.0 or newer.

    The operator is called by its name: torch's wrapper may prefer cuDNN, which is slower here.
    """
    query, key, value = qkv
    side = -1 if window is None else window
    out: Tensor = torch.ops.aten._flash_attention_forward(
        query,
        key,
        value,
        layout.cu_seqlens,
        layout.cu_seqlens,
        layout.max_length,
        layout.max_length,
        0.0,  # dropout
        False,  # causal
        False,  # debug mask
        window_size_left=side,
        window_size_right=side,
    )[0]
    return out.flatten(1)


def attend_efficient(
    qkv: tuple[Tensor, Tensor, Tensor],
    layout: Layout,
    *,
    window: int | None,  # noqa: ARG001 - the kernel knows none to both sides
    mask: Tensor | None,  # noqa: ARG001 - of the padded function
) -> Tensor:
    """The memory-efficient kernel over packed texts: cards without FlashAttention, and fp32."""
    query, key, value = (part[None] for part in qkv)
    out: Tensor = torch.ops.aten._efficient_attention_forward(
        query,
        key,
        value,
        None,  # bias
        layout.cu_seqlens,
        layout.cu_seqlens,
        layout.max_length,
        layout.max_length,
        0.0,  # dropout
        0,  # no causal mask
    )[0]
    return out[0].flatten(1)


def attend_padded(
    qkv: tuple[Tensor, Tensor, Tensor],
    layout: Layout,
    *,
    window: int | None,  # noqa: ARG001 - the mask holds it
    mask: Tensor | None,
) -> Tensor:
    """torch's own attention over the texts as rows: any device, any mask.

    It computes texts · max_length² scores, whatever the texts' lengths.
    """
    rows = padded_rows(layout, tokens=len(qkv[0]))
    query, key, value = (part[rows].transpose(1, 2) for part in qkv)
    out = scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return out.transpose(1, 2)[layout.segments, layout.positions].flatten(1)


def padded_rows(layout: Layout, *, tokens: int) -> Tensor:
    """The token at each place of each text, int64 [texts, max_length].

    Past a text's end it is the text's last one again: what is masked is computed all the same,
    and another text's NaN would come through the mask.
    """
    places = torch.arange(layout.max_length, device=layout.cu_seqlens.device)
    own = torch.minimum(places, layout.lengths[:, None].long() - 1).clamp(min=0)
    return (layout.cu_seqlens[:-1, None] + own).clamp(max=tokens - 1)


def padded_mask(
    layout: Layout, *, window: int | None, bias: Tensor | None, dtype: torch.dtype
) -> Tensor:
    """What each place of a row may see: bool, or what is added to its scores where there is a
    bias [heads, max_length, max_length]. It broadcasts to [texts, heads, max_length, max_length].

    A row without tokens sees one place, so that it holds no NaN.
    """
    places = torch.arange(layout.max_length, device=layout.cu_seqlens.device)
    seen = (places < layout.lengths.clamp(min=1)[:, None])[:, None, None, :]
    if window is not None:
        # The place itself, so that those past a short text's end see one too.
        near = (places[:, None] - places).abs()
        seen = (seen & (near <= window)) | (near == 0)
    if bias is None:
        return seen
    return torch.where(seen, bias.to(dtype), float("-inf"))
