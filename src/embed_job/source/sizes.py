"""How large splits are."""

from __future__ import annotations

from embed_job.spec import InputSpec

MIB = 1 << 20
MIN_SPLIT_BYTES = 32 << 10
MAX_SPLIT_BYTES = 16 * MIB
SPLITS_PER_SMALL_FILE = 16
"""A file smaller than 256 MiB is cut into this many, so that a 2 MB sample keeps 8 workers busy to
the end: with one split each, they would wait for the slowest."""


def split_bytes(total_bytes: int, spec: InputSpec) -> int:
    """The size that splits of a file of total_bytes are given."""
    if spec.split_mib is not None:
        return max(1, round(spec.split_mib * MIB))
    return max(MIN_SPLIT_BYTES, min(MAX_SPLIT_BYTES, -(-total_bytes // SPLITS_PER_SMALL_FILE)))
