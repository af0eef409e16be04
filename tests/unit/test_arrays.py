from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from embed_job.arrays import save_array


def test_numpy_reads_what_was_saved(tmp_path: Path) -> None:
    array = np.arange(12, dtype=np.uint64)
    save_array(tmp_path / "a.npy", array)
    read = np.load(tmp_path / "a.npy", allow_pickle=False)
    assert read.dtype == array.dtype
    assert read.tolist() == array.tolist()


def test_a_full_disk_keeps_its_errno() -> None:
    with pytest.raises(OSError, match="No space left") as raised:
        save_array(Path("/dev/full"), np.zeros(100_000))
    assert raised.value.errno == errno.ENOSPC
