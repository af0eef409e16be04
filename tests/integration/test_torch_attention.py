"""Attention by device: what is chosen, and that torch takes what we hand its kernels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from embed_job.engine.torch.attention import (
    Attend,
    attend_efficient,
    attend_flash,
    attend_padded,
    choose_attention,
    layout_of,
    padded_mask,
)
from embed_job.engine.torch.distance import distance_bias
from embed_job.engine.torch.weights import read_stack
from tests.integration import torch_models as tiny

META = torch.device("meta")
T4, A10, H100 = (7, 5), (8, 6), (9, 0)


@pytest.mark.parametrize(
    ("capability", "dtype", "size", "plain", "windows", "expected"),
    [
        (None, torch.float32, 32, True, False, attend_padded),
        (H100, torch.float16, 32, True, False, attend_flash),
        (H100, torch.bfloat16, 64, True, True, attend_flash),
        (A10, torch.float16, 64, True, False, attend_flash),
        (A10, torch.float16, 64, False, False, attend_padded),
        (A10, torch.float16, 512, True, False, attend_efficient),
        (A10, torch.float16, 20, True, False, attend_padded),
        (A10, torch.float32, 64, True, False, attend_efficient),
        (T4, torch.float16, 64, True, False, attend_efficient),
        (T4, torch.float16, 64, True, True, attend_padded),
    ],
)
def test_the_device_decides(
    capability: tuple[int, int] | None,
    dtype: torch.dtype,
    size: int,
    plain: bool,
    windows: bool,
    expected: Attend,
) -> None:
    chosen = choose_attention(capability, dtype, head_size=size, plain=plain, windows=windows)
    assert chosen is expected


def _names(operator: str) -> list[str]:
    schema = getattr(torch.ops.aten, operator).default._schema
    return [argument.name for argument in schema.arguments]


def test_the_kernels_take_their_arguments_in_this_order() -> None:
    """They are called by place; another version of torch may not move them."""
    flash, efficient = _names("_flash_attention_forward"), _names("_efficient_attention_forward")
    assert flash[:6] == ["query", "key", "value", "cum_seq_q", "cum_seq_k", "max_q"]
    assert flash[6:10] == ["max_k", "dropout_p", "is_causal", "return_debug_mask"]
    assert {"window_size_left", "window_size_right"} <= set(flash)
    assert efficient[:6] == ["query", "key", "value", "bias", "cu_seqlens_q", "cu_seqlens_k"]
    assert efficient[6:10] == ["max_seqlen_q", "max_seqlen_k", "dropout_p", "custom_mask_type"]


@pytest.mark.parametrize("family", ["bert", "xlm-roberta", "modernbert", "nomic_bert", "gte"])
@pytest.mark.parametrize("attend", [attend_flash, attend_efficient, attend_padded])
@pytest.mark.parametrize("pooling", ["mean", "cls", "lasttoken"])
def test_the_pass_reads_nothing_back(
    tmp_path: Path, family: str, attend: Attend, pooling: str
) -> None:
    """On the device without data every shape must follow without it, the kernels' as well."""
    recipe = tiny.write_model(tmp_path / "model", family, pooling=pooling)
    model = tiny.packed_with(recipe, attend, META)
    assert model.pads is (attend is attend_padded)
    ids, cu_seqlens = tiny.packed(tiny.random_texts([3, 9]), spare_rows=4, spare_tokens=20)
    with torch.inference_mode():
        vectors = model(ids.to(META), cu_seqlens.to(META), tiny.MAX_TOKENS)
    assert vectors.shape == (6, 32)
    assert vectors.dtype == torch.float32


def test_a_kernel_of_the_gpu_is_part_of_one_graph(tmp_path: Path) -> None:
    recipe = tiny.write_model(tmp_path / "model", "bert")
    model = tiny.packed_with(recipe, attend_flash, META)
    torch._dynamo.reset()
    whole = torch.compile(model, backend="eager", fullgraph=True, dynamic=True)
    for number, (lengths, longest) in enumerate([([3, 9, 20], 24), ([5, 40, 3, 2], 48)]):
        ids, cu_seqlens = tiny.packed(tiny.random_texts(lengths), spare_tokens=3)
        once = torch._dynamo.config.patch(error_on_recompile=number > 0)
        with torch.inference_mode(), once:
            vectors = whole(ids.to(META), cu_seqlens.to(META), longest)
        assert vectors.shape == (len(lengths), 32)


def _by_hand(qkv: tuple[Tensor, Tensor, Tensor], ends: list[int], window: int | None) -> Tensor:
    """Softmax of one text, one head and one token after the other, in float64."""
    query, key, value = (part.double() for part in qkv)
    out = torch.zeros_like(query)
    for start, end in zip([0, *ends], ends, strict=False):
        for token in range(start, end):
            low = start if window is None else max(start, token - window)
            high = end if window is None else min(end, token + window + 1)
            for head in range(query.shape[1]):
                scores = key[low:high, head] @ query[token, head] / query.shape[2] ** 0.5
                out[token, head] = torch.softmax(scores, 0) @ value[low:high, head]
    return out.flatten(1)


@pytest.mark.parametrize("window", [None, 0, 2, 50])
def test_padded_rows_give_each_text_its_own_attention(window: int | None) -> None:
    generator = torch.Generator().manual_seed(3)
    query, key, value = (torch.randn(16, 2, 8, generator=generator) for _ in range(3))
    cu_seqlens = torch.tensor([0, 1, 1, 8, 13, 13], dtype=torch.int32)
    layout = layout_of(cu_seqlens, tokens=16, max_length=9)
    mask = padded_mask(layout, window=window, bias=None, dtype=torch.float32)
    made = attend_padded((query, key, value), layout, window=window, mask=mask)
    assert torch.isfinite(made).all()
    expected = _by_hand((query, key, value), [1, 8, 13], window)
    assert (made[:13].double() - expected[:13]).abs().max() < 1e-6


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")
@pytest.mark.parametrize(
    ("attend", "dtype", "window"),
    [
        (attend_flash, torch.float16, None),
        (attend_flash, torch.bfloat16, 2),
        (attend_efficient, torch.float16, None),
        (attend_efficient, torch.float32, None),
        (attend_padded, torch.float16, 2),
    ],
)
def test_a_gpu_gives_each_text_its_own_attention(
    attend: Attend, dtype: torch.dtype, window: int | None
) -> None:
    """Tokens past the last text are NaN, and reach no other."""
    if attend is attend_flash and torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("no FlashAttention on this card")
    generator = torch.Generator().manual_seed(3)
    query, key, value = (torch.randn(16, 2, 32, generator=generator).to(dtype) for _ in range(3))
    for part in (query, key, value):
        part[13:] = float("nan")
    cu_seqlens = torch.tensor([0, 1, 1, 8, 13, 13], dtype=torch.int32, device="cuda")
    layout = layout_of(cu_seqlens, tokens=16, max_length=64)
    mask = padded_mask(layout, window=window, bias=None, dtype=dtype)
    on_gpu = (query.cuda(), key.cuda(), value.cuda())
    made = attend(on_gpu, layout, window=window, mask=mask).cpu()
    expected = _by_hand((query, key, value), [1, 8, 13], window)
    assert (made[:13].double() - expected[:13]).abs().max() < 0.01


def test_a_layout_gives_tokens_their_texts_and_places() -> None:
    layout = layout_of(torch.tensor([0, 0, 3, 3, 5, 5], dtype=torch.int32), tokens=8, max_length=3)
    assert layout.lengths.tolist() == [0, 3, 0, 2, 0]
    assert layout.segments[:5].tolist() == [1, 1, 1, 3, 3]
    assert layout.positions[:5].tolist() == [0, 1, 2, 0, 1]
    assert layout.segments.max() < 5
    assert layout.positions.max() < 3


def test_the_bias_by_distance_is_that_of_transformers(tmp_path: Path) -> None:
    from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

    stack = read_stack(tiny.write_model(tmp_path / "model", "mpnet"))
    assert stack is not None
    assert stack.relative_bias is not None
    distances = torch.arange(1 - stack.max_tokens, stack.max_tokens)
    buckets = MPNetEncoder.relative_position_bucket(distances[None], num_buckets=32)[0]
    expected = stack.relative_bias[:, buckets.numpy()]
    assert np.array_equal(distance_bias(stack).numpy(), expected)
