"""The operations of a forward pass, held against figures worked out by hand."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from embed_job.engine.torch.flops import attention_flops, matrix_flops_a_token, model_flops
from embed_job.engine.torch.stack import Affine, Block, Scale, Stack


def _zeros(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.broadcast_to(np.float32(0), shape)  # takes no memory


def _stack(
    hidden: int, wide: int, layers: int, *, gated: bool = False, window: int | None = None
) -> Stack:
    norm = Scale(_zeros(hidden), None)
    block = Block(
        qkv=Affine(_zeros(3 * hidden, hidden), None),
        out=Affine(_zeros(hidden, hidden), None),
        attention_norm=norm,
        up=Affine(_zeros(wide * (2 if gated else 1), hidden), None),
        down=Affine(_zeros(hidden, wide), None),
        output_norm=norm,
        window=window,
    )
    return Stack(
        words=_zeros(10, hidden),
        positions=None,
        norm=norm,
        blocks=(block,) * layers,
        heads=hidden // 32,
        epsilon=1e-12,
        activation="gelu",
        max_tokens=512,
        gated=gated,
    )


@pytest.mark.parametrize(
    ("hidden", "wide", "layers", "gated", "million"),
    [
        (384, 1536, 6, False, 21.233664),  # MiniLM-L6: 10.6 M numbers in its matrices
        (768, 3072, 12, False, 169.869312),  # bge-base
        (768, 1152, 22, True, 220.594176),  # ModernBERT-base
    ],
)
def test_matrices_count_two_operations_a_number(
    hidden: int, wide: int, layers: int, gated: bool, million: float
) -> None:
    assert matrix_flops_a_token(_stack(hidden, wide, layers, gated=gated)) == million * 1e6


def test_attention_counts_the_pairs_that_see_each_other() -> None:
    whole, narrow = _stack(384, 1536, 6), _stack(384, 1536, 6, window=2)
    assert attention_flops(whole, 128) == 6 * 4 * 384 * 128 * 128
    pairs = sum(abs(i - j) <= 2 for i in range(10) for j in range(10))
    assert attention_flops(narrow, 10) == 6 * 4 * 384 * pairs
    assert attention_flops(narrow, 2) == attention_flops(whole, 2)
    assert attention_flops(whole, 0) == 0


def test_a_batch_is_the_sum_of_its_texts() -> None:
    stack = _stack(384, 1536, 6)
    assert model_flops(stack, [128]) == 128 * 21_233_664 + attention_flops(stack, 128)
    assert model_flops(stack, [3, 5]) == model_flops(stack, [3]) + model_flops(stack, [5])
    assert model_flops(stack, []) == 0


def test_counting_loads_no_torch() -> None:
    program = "import sys, embed_job.engine.torch.flops; print('torch' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "False"
