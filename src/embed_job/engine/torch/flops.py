"""Floating-point operations of a forward pass: what a roofline divides by."""

from __future__ import annotations

from collections.abc import Iterable

from embed_job.engine.torch.stack import Stack


def matrix_flops_a_token(stack: Stack) -> int:
    """Operations of the weight matrices a token: two for each number of a matrix.

    A post-norm layer of hidden size h and width w has 2 · (4 h² + 2 h w), a gated one
    2 · (4 h² + 3 h w). Embeddings are looked up and norms are small: they don't count.
    """
    return sum(
        2 * affine.weight.size
        for block in stack.blocks
        for affine in (block.qkv, block.out, block.up, block.down)
    )


def attention_flops(stack: Stack, length: int) -> int:
    """Operations of attention over a text of that many tokens: 4 · h for each pair of tokens that
    see each other, for the scores and the sums. A window of w lets a token see w to each side."""
    total = 0
    for block in stack.blocks:
        side = length if block.window is None else min(block.window, length)
        # A token at the text's edge has no neighbours past it.
        pairs = length * length if side >= length else length * (2 * side + 1) - side * (side + 1)
        total += 4 * stack.hidden * pairs
    return total


def model_flops(stack: Stack, lengths: Iterable[int]) -> int:
    """Operations of a forward pass over texts of these lengths, padding and head not counted.

    With cls or lasttoken pooling the engine leaves out part of the last layer, so that its own
    work is a little less.
    """
    matrices = matrix_flops_a_token(stack)
    return sum(length * matrices + attention_flops(stack, length) for length in lengths)
