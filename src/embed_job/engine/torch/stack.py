"""An encoder as the packed forward sees it, whatever its family calls its parts."""

from __future__ import annotations

from dataclasses import dataclass

from embed_job.bundle.files import Array


@dataclass(frozen=True, slots=True)
class Affine:
    """x @ weight.T + bias; weight [out, in], as checkpoints hold it and as torch multiplies."""

    weight: Array
    bias: Array | None


@dataclass(frozen=True, slots=True)
class Scale:
    """The gain and the shift of a layer normalisation."""

    gamma: Array
    beta: Array | None


@dataclass(frozen=True, slots=True)
class Block:
    """One layer of an encoder.

    qkv: query, key and value above each other, [3 · hidden, hidden]. attention_norm is None where
    a pre-norm layer takes its input as it is. theta: the base of the rotary angles, None without
    them. window: tokens to each side that attention sees, None: all of the text.
    """

    qkv: Affine
    out: Affine
    attention_norm: Scale | None
    up: Affine
    down: Affine
    output_norm: Scale
    theta: float | None = None
    window: int | None = None


@dataclass(frozen=True, slots=True)
class Stack:
    """A transformer encoder.

    words [vocabulary, hidden]. positions [rows, hidden], or None: with rotary angles or none.
    Where positions_pad is a token id, positions count from the row after it and skip tokens of
    that id, as RoBERTa's do. max_tokens: the longest text. gated: ``up`` holds what goes through
    the activation above what it is multiplied by. pre_norm: the norms stand before attention and
    before the wide layer, and final_norm after all. relative_bias [heads, 32] is MPNet's.
    """

    words: Array
    positions: Array | None
    norm: Scale
    blocks: tuple[Block, ...]
    heads: int
    epsilon: float
    activation: str
    max_tokens: int
    gated: bool = False
    pre_norm: bool = False
    final_norm: Scale | None = None
    positions_pad: int | None = None
    relative_bias: Array | None = None

    @property
    def hidden(self) -> int:
        """Numbers of a token's state."""
        return int(self.words.shape[1])

    @property
    def head_size(self) -> int:
        """Numbers of a head's query."""
        return self.hidden // self.heads
