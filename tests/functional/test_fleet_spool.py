"""Runs that begin at the same moment, each sweeping what dead ones left."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

RUNS = """
import sys
from pathlib import Path
from embed_job.spool import Spool
for _ in range(300):
    with Spool(Path(sys.argv[1])) as spool:
        (spool.path / "rows").write_bytes(b"unfinished")
        assert (spool.path / "rows").read_bytes() == b"unfinished"
"""


def test_none_takes_anothers_folder_for_abandoned(tmp_path: Path) -> None:
    root = tmp_path / "spool"
    command = [sys.executable, "-c", RUNS, str(root)]
    runs = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    errors = [run.communicate(timeout=60)[1] for run in runs]
    assert [run.returncode for run in runs] == [0] * 4, errors
    assert list(root.iterdir()) == []
