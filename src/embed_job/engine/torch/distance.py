"""MPNet's bias by distance."""

from __future__ import annotations

import torch
from torch import Tensor

from embed_job.engine.torch.stack import Stack

_EXACT, _BUCKETS, _FARTHEST = 8, 16, 128
"""To each side: distances with a bucket of their own, buckets, and where the last one begins."""


def distance_bias(stack: Stack) -> Tensor:
    """The bias of each signed distance, float32 [heads, 2 · max_tokens − 1]; the middle is 0.

    Buckets as T5's (Raffel et al., arXiv:1910.10683): one for each short distance, then by the
    logarithm.
    """
    if stack.relative_bias is None:
        raise ValueError("this stack has no bias by distance")
    distances = torch.arange(1 - stack.max_tokens, stack.max_tokens)
    far = distances.abs()
    # In double precision, with a little on top: a power of two times 8 begins a bucket.
    ratio = torch.log(far.clamp(min=1).double() / _EXACT) / torch.log(
        torch.tensor(_FARTHEST / _EXACT, dtype=torch.float64)
    )
    coarse = _EXACT + (ratio * (_BUCKETS - _EXACT) + 1e-9).floor().long()
    buckets = torch.where(far < _EXACT, far, coarse.clamp(max=_BUCKETS - 1))
    table = torch.from_numpy(stack.relative_bias)
    return table[:, buckets + torch.where(distances > 0, _BUCKETS, 0)]
