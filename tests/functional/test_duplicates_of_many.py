"""Ids of more splits than are read, and more hashes than are gathered, at a time."""

from __future__ import annotations

import ast
import sys
import threading
from pathlib import Path
from types import FrameType

import numpy as np
import pytest

from embed_job.commit.duplicates import find_duplicates
from embed_job.manifest import Counts, SplitCounts, SplitManifest, SplitSource, StageTimes
from embed_job.storage.local import LocalStore

SPLITS, IDS = 40, 40_000
"""1.6 million hashes: two gatherings of a million at most, forty files read sixteen at a time."""
SHARED = 1_500
"""More than are confirmed by the ids themselves, so that hashes alone count."""


def _manifest(number: int) -> SplitManifest:
    counts = Counts(read=IDS, written=IDS)
    return SplitManifest(
        split=f"{number:064}",
        attempt="0" * 12,
        fingerprint="0" * 64,
        source=SplitSource(files=((f"{number}.jsonl", "etag:0"),), start=0, end=1, bytes=1),
        counts=SplitCounts(documents=counts, chunks=counts),
        parts=(),
        ids=f"{number}.npy",
        dead_letters=None,
        worker=0,
        host="algo-1",
        started_at=0.0,
        finished_at=0.0,
        stages_s=StageTimes(),
        peak_rss_bytes=0,
    )


@pytest.fixture
def manifests(tmp_path: Path) -> list[SplitManifest]:
    """Splits of distinct ids, but for some of the first split that the last one holds too."""
    drawn = np.random.default_rng(0).permutation(SPLITS * IDS).astype(np.uint64)
    spread = (drawn * np.uint64(0x9E3779B97F4A7C15)).reshape(SPLITS, IDS)
    spread[-1, :SHARED] = spread[0, :SHARED]
    for number, hashes in enumerate(spread):
        np.save(tmp_path / f"{number}.npy", np.sort(hashes))
    return [_manifest(number) for number in range(SPLITS)]


@pytest.mark.parametrize("hashes_in_memory", [1 << 22, 100_000])
def test_what_splits_far_apart_share_is_found(
    tmp_path: Path, manifests: list[SplitManifest], hashes_in_memory: int
) -> None:
    store = LocalStore()
    found = find_duplicates(store, str(tmp_path), manifests, hashes_in_memory=hashes_in_memory)
    assert found.count == SHARED
    alone = find_duplicates(store, str(tmp_path), manifests[1:], hashes_in_memory=hashes_in_memory)
    assert alone.count == 0


def test_ids_that_cannot_be_read_are_told(tmp_path: Path, manifests: list[SplitManifest]) -> None:
    (tmp_path / "20.npy").unlink()
    with pytest.raises(FileNotFoundError):
        find_duplicates(LocalStore(), str(tmp_path), manifests)


def test_reader_threads_parse_no_header(tmp_path: Path, manifests: list[SplitManifest]) -> None:
    """In CPython 3.11 threads whose parses interrupt each other can raise SystemError."""
    parsed_by: set[str] = set()

    def record(frame: FrameType, event: str, arg: object) -> None:
        if event == "call" and frame.f_code is ast.parse.__code__:
            parsed_by.add(threading.current_thread().name)

    threading.setprofile(record)
    sys.setprofile(record)
    try:
        find_duplicates(LocalStore(), str(tmp_path), manifests)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    assert parsed_by == {threading.current_thread().name}
