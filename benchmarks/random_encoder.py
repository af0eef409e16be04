"""Encoders of random weights: a forward pass takes as long with them as with trained ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embed_job.bundle.files import Array
from embed_job.engine.torch.stack import Affine, Block, Scale, Stack


@dataclass(frozen=True, slots=True)
class Sizes:
    """A post-norm encoder's sizes, as BERT's."""

    name: str
    hidden: int
    wide: int
    layers: int
    heads: int
    vocabulary: int = 30_522


MINILM = Sizes("MiniLM-L6 (384/1536/6)", hidden=384, wide=1536, layers=6, heads=12)
BGE_BASE = Sizes("bge-base (768/3072/12)", hidden=768, wide=3072, layers=12, heads=12)
TINY = Sizes("tiny (64/128/2), on the CPU", hidden=64, wide=128, layers=2, heads=4)


def random_stack(sizes: Sizes, *, max_tokens: int) -> Stack:
    """An encoder whose states neither vanish nor overflow."""
    source = np.random.default_rng(11)

    def matrix(outputs: int, inputs: int) -> Affine:
        weight = source.standard_normal((outputs, inputs), np.float32) / np.float32(inputs**0.5)
        return Affine(weight, np.zeros(outputs, np.float32))

    def norm() -> Scale:
        return Scale(np.ones(sizes.hidden, np.float32), np.zeros(sizes.hidden, np.float32))

    def table(rows: int) -> Array:
        return source.standard_normal((rows, sizes.hidden), np.float32)

    return Stack(
        words=table(sizes.vocabulary),
        positions=table(max_tokens),
        norm=norm(),
        blocks=tuple(
            Block(
                qkv=matrix(3 * sizes.hidden, sizes.hidden),
                out=matrix(sizes.hidden, sizes.hidden),
                attention_norm=norm(),
                up=matrix(sizes.wide, sizes.hidden),
                down=matrix(sizes.hidden, sizes.wide),
                output_norm=norm(),
            )
            for _ in range(sizes.layers)
        ),
        heads=sizes.heads,
        epsilon=1e-12,
        activation="gelu",
        max_tokens=max_tokens,
    )
