"""A job that is about to be committed: all that is asked of it at its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from embed_job.commit.lease import Lease
from embed_job.manifest import SplitManifest
from embed_job.spec import JobSpec


@dataclass(frozen=True, slots=True)
class Ending:
    """planned: identities of the input's splits; live: those committed and whole; found: every
    committed one, also those that the input no longer has. without_splits: names of listed files
    that hold nothing to embed. size_of: asks the input for a file by its name, listed or not: its
    bytes, or FileNotFoundError. lease: the right to commit and to remove."""

    spec: JobSpec
    fingerprint: str
    planned: Sequence[str]
    live: Mapping[str, SplitManifest]
    found: Mapping[str, SplitManifest]
    without_splits: Sequence[str]
    size_of: Callable[[str], int]
    lease: Lease
