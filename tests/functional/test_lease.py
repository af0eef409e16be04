"""The lease of an output: one winner, whoever is alive is left alone, whoever is dead is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from embed_job.commit.commits import Commits
from embed_job.commit.lease import HeldError, Holder, Lease, LeaseRecord, Rhythm
from embed_job.commit.process import is_gone, this_process
from embed_job.errors import ExitCode
from embed_job.storage.local import LocalStore

QUICK = Rhythm(beat_s=0.05, dead_s=0.6)
HOLD = """
import sys, time
from embed_job.commit.commits import Commits
from embed_job.commit.lease import Holder, Lease, Rhythm
from embed_job.storage.local import LocalStore

folder, run, alone = sys.argv[1:]
lease = Lease(Commits(LocalStore(), folder), Holder(run, "here", alone=alone == "alone"),
              rhythm=Rhythm(beat_s=0.05, dead_s=0.6))
lease.take()
with lease:
    print("taken", flush=True)
    for line in sys.stdin:
        print(lease.holds(), lease.lost_to, flush=True)
"""


class Other:
    """A run that holds the lease, as a process of its own."""

    def __init__(self, folder: Path, run: str, alone: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(folder), run, alone],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._line() == "taken"

    def ask(self) -> str:
        """Whether it holds the lease, and to whom it has lost it."""
        assert self.process.stdin is not None
        self.process.stdin.write("?\n")
        self.process.stdin.flush()
        return self._line()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@pytest.fixture
def other(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Other]:
    other = Other(tmp_path, "other", getattr(request, "param", "alone"))
    yield other
    other.process.kill()
    other.process.communicate()


def lease_of(
    folder: Path, run: str, *, alone: bool = False, generation: int | None = None
) -> Lease:
    commits = Commits(LocalStore(), str(folder))
    return Lease(commits, Holder(run, "here", alone=alone), rhythm=QUICK, generation=generation)


def record(folder: Path) -> LeaseRecord:
    return LeaseRecord.model_validate_json((folder / "_embed_job/lease.json").read_bytes())


def test_generations_grow_and_a_free_lease_is_taken_at_once(tmp_path: Path) -> None:
    for generation in (1, 2, 3):
        lease = lease_of(tmp_path, f"run-{generation}", alone=True)
        lease.take()
        with lease:
            assert lease.holds()
            assert lease.generation == generation
        assert record(tmp_path).free


def test_of_sixteen_that_want_it_one_has_it(tmp_path: Path) -> None:
    start = Barrier(16)

    def attempt(number: int) -> Lease | HeldError:
        lease = lease_of(tmp_path, f"run-{number}", alone=True)
        start.wait()
        try:
            lease.take()
        except HeldError as held:
            return held
        return lease.__enter__()

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(attempt, range(16)))
    (won,) = [one for one in found if isinstance(one, Lease)]
    assert won.holds()
    by = {one.by for one in found if isinstance(one, HeldError)}
    assert by == {record(tmp_path).run}
    won.release()


def test_who_is_alive_is_left_alone(tmp_path: Path, other: Other) -> None:
    with pytest.raises(HeldError, match="other on here is at work on this output") as refused:
        lease_of(tmp_path, "late").take()
    assert refused.value.by == "other"
    assert refused.value.exit_code == 4
    assert other.ask() == "True None"


def test_a_killed_process_of_this_machine_is_followed_at_once(tmp_path: Path, other: Other) -> None:
    other.process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, other.process.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie
    commits = Commits(LocalStore(), str(tmp_path))
    patient = Rhythm(beat_s=60, dead_s=3600)
    lease = Lease(commits, Holder("next", "here", alone=True), rhythm=patient)
    lease.take()
    assert lease.generation == 2


@pytest.mark.parametrize("other", ["alone", "beside others"], indirect=True)
def test_who_stands_still_is_taken_over_and_learns_of_it(tmp_path: Path, other: Other) -> None:
    other.process.send_signal(signal.SIGSTOP)
    lease = lease_of(tmp_path, "next", alone=True)
    lease.take()
    with lease:
        assert lease.generation == 2
        other.process.send_signal(signal.SIGCONT)
        assert other.ask() == "False next"
        time.sleep(4 * QUICK.beat_s)
        assert lease.holds()
        assert record(tmp_path).run == "next"
    assert other.ask() == "False next"
    assert record(tmp_path).run == "next"


@pytest.mark.parametrize("other", ["beside others"], indirect=True)
def test_hosts_of_one_job_share_it_and_any_of_them_keeps_it(tmp_path: Path, other: Other) -> None:
    sibling = lease_of(tmp_path, "other")
    sibling.take()
    assert sibling.generation == 1
    with sibling:
        other.process.kill()
        time.sleep(2 * QUICK.dead_s)
        assert sibling.holds()
        with pytest.raises(HeldError):
            lease_of(tmp_path, "late").take()
        sibling.release()
    assert not sibling.holds()
    lease_of(tmp_path, "late").take()


def test_a_generation_that_has_passed_is_not_taken_again(tmp_path: Path) -> None:
    first = lease_of(tmp_path, "first", alone=True)
    first.take()
    first.release()
    again = lease_of(tmp_path, "first", alone=True, generation=1)
    again.take()
    assert again.generation == 1
    again.release()
    second = lease_of(tmp_path, "second", alone=True)
    second.take()
    second.release()
    with pytest.raises(HeldError, match=r"second on here has taken over .*generation 2"):
        lease_of(tmp_path, "first", alone=True, generation=1).take()


def test_a_store_that_does_not_answer_proves_nothing(tmp_path: Path) -> None:
    """The holder's own beat grows old: it may do nothing until the store has told it again."""
    path = tmp_path / "_embed_job/lease.json"
    lease = lease_of(tmp_path, "only", alone=False)
    lease.take()
    with lease:
        path.rename(path.with_name("away"))
        path.mkdir()
        time.sleep(QUICK.dead_s)
        with pytest.raises(OSError, match="lease"):
            lease.holds()
        path.rmdir()
        path.with_name("away").rename(path)
        assert lease.holds()


def test_only_what_can_be_told_from_here_is_told_dead() -> None:
    this = this_process()
    place, _, began = this.rpartition(" ")
    assert not is_gone(this)
    assert is_gone(f"{place} {int(began) + 1}"), "the number has come round to another process"
    boot, namespace, number = place.rsplit(" ", 2)
    assert not is_gone(f"{boot} pid:[1] {number} 1"), "of another container"
    assert not is_gone(f"another-boot {namespace} {number} 1"), "of another machine"
    assert not is_gone("")


@pytest.mark.parametrize("shift_s", [-(10**8), 10**8])
def test_a_clock_years_ahead_or_back_decides_nothing(job: Any, shift_s: int) -> None:
    """A run that lives is left alone, and one that died is followed."""
    job.write_corpus(files=1, documents=5)
    assert job.run().exit_code is ExitCode.OK
    living = Other(job.output, "living", "alone")
    refused = shifted_run(job, shift_s)
    assert refused.returncode == ExitCode.OUTPUT, refused.stderr
    assert "living on here is at work on this output" in " ".join(refused.stderr.split())
    living.process.kill()
    living.process.communicate()
    followed = shifted_run(job, shift_s)
    assert followed.returncode == ExitCode.OK, followed.stderr
    assert record(job.output).generation == 3


def shifted_run(job: Any, shift_s: int) -> subprocess.CompletedProcess[str]:
    """A run to its end whose clock is off by so much."""
    script = Path(__file__).parent.parent / "opensearch/shifted_clock.py"
    report = ["--report", str(job.folder / "shifted")]
    return subprocess.run(
        [sys.executable, str(script), str(shift_s), "run", str(job.spec_file()), *report],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
        check=False,
    )
