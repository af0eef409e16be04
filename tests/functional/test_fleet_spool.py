"""Runs that begin at the same moment, each sweeping what dead ones left."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from embed_job.spool import Spool

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


LEAVES = """
import sys
from pathlib import Path
from embed_job.spool import Spool
with Spool(Path(sys.argv[1])) as spool:
    tables = spool.path / "earlier"
    tables.mkdir()
    for number in range(3_000):
        (tables / str(number)).touch()
    print("leaving", flush=True)
"""


def test_what_is_left_by_a_run_killed_while_it_cleans_up_goes(tmp_path: Path) -> None:
    root = tmp_path / "spool"
    for _ in range(3):
        run = subprocess.Popen([sys.executable, "-c", LEAVES, str(root)], stdout=subprocess.PIPE)
        assert run.stdout is not None
        run.stdout.readline()
        run.kill()
        run.communicate()
        with Spool(root) as spool:
            assert list(root.iterdir()) == [spool.path]
    assert list(root.iterdir()) == []
