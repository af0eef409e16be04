"""Killed workers, killed runs, signals, full disks: nothing is lost, nothing is doubled."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from embed_job.commit.commits import Commits
from embed_job.commit.lease import Rhythm
from embed_job.dataset import open_dataset
from embed_job.dataset.verify import verify_output
from embed_job.errors import ExitCode
from embed_job.storage import store_for

TIMEOUT_S = 120


def slow_job(job: Any) -> Any:
    """A few seconds of real model on many splits."""
    job.write_corpus(files=12, documents=150)
    job.spec["model"]["engine"] = "onnx"
    job.spec["execution"] = {"workers": 2, "batch_tokens": 64}
    return job


@pytest.fixture
def undisturbed(make_job: Callable[[str], Any]) -> dict[str, Any]:
    job = slow_job(make_job("undisturbed"))
    assert job.run().exit_code is ExitCode.OK
    return job.rows()  # type: ignore[no-any-return]


def manifests(job: Any) -> list[Path]:
    return list((job.output / "_embed_job" / "manifests").glob("*.json"))


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.02)


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The worker processes, without multiprocessing's resource tracker."""
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def same_rows(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    """The same ids and texts, and vectors equal up to what batching rounds."""
    return ours.keys() == theirs.keys() and all(
        ours[key][0] == theirs[key][0]
        and max(abs(a - b) for a, b in zip(ours[key][1], theirs[key][1], strict=True)) < 1e-5
        for key in ours
    )


@pytest.mark.slow
def test_a_run_killed_ten_times_ends_with_the_rows_of_an_undisturbed_one(
    make_job: Callable[[str], Any], undisturbed: dict[str, Any]
) -> None:
    job, moments = slow_job(make_job("killed")), random.Random(20261121)
    for _ in range(10):
        process = job.start()
        time.sleep(moments.uniform(0.3, 3.0))
        process.kill()
        process.communicate(timeout=TIMEOUT_S)
    process = job.start()
    _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, errors
    assert same_rows(job.rows(), undisturbed)
    assert list((job.output / "_embed_job" / "spool").iterdir()) == []


def lease_of(job: Any) -> dict[str, Any]:
    path = job.output / "_embed_job/lease.json"
    return json.loads(path.read_bytes()) if path.exists() else {"generation": 0}


def test_runs_killed_while_the_corpus_changes_come_to_what_is_there(
    make_job: Callable[[str], Any],
) -> None:
    job, moments = make_job("changing"), random.Random(20261122)
    job.write_corpus(files=6, documents=40)
    job.allow_deletions()
    assert job.run().exit_code is ExitCode.OK
    for number in range(5):
        changed = moments.randrange(6)
        texts = [f"text {number} of {n}" for n in range(moments.randrange(20, 60))]
        named = [{"id": f"{changed}-{n}", "text": text} for n, text in enumerate(texts)]
        job.write(f"{changed:03}.jsonl", named)
        last = lease_of(job)["generation"]
        process = job.start()
        wait_for(lambda last=last: lease_of(job)["generation"] > last)
        time.sleep(moments.uniform(0.0, 2.5))
        process.kill()
        process.communicate(timeout=TIMEOUT_S)
    assert job.run().exit_code is ExitCode.OK
    fresh = make_job("fresh")
    fresh.input = job.input
    fresh.spec["input"]["uri"] = str(job.input)
    assert fresh.run().exit_code is ExitCode.OK
    assert job.rows() == fresh.rows()
    store, uri = store_for(str(job.output)), str(job.output)
    assert verify_output(store, uri).ok
    live = {part.name for _, part in open_dataset(store, uri).parts()}
    assert set(job.parts()) == live
    for folder, manifest in Commits(store, uri).retired():
        assert all((Path(folder) / part.name).is_file() for part in manifest.parts)


def test_the_workers_of_a_killed_run_end_too(job: Any) -> None:
    process = slow_job(job).start()
    wait_for(lambda: len(workers_of(process)) == 2)
    workers = workers_of(process)
    process.kill()
    process.communicate(timeout=TIMEOUT_S)
    wait_for(lambda: not any(worker.is_running() for worker in workers))


def test_a_killed_worker_is_replaced_and_its_split_embedded_once(
    job: Any, undisturbed: dict[str, Any]
) -> None:
    process = slow_job(job).start()
    wait_for(lambda: len(manifests(job)) >= 2)
    workers_of(process)[0].kill()
    _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, errors
    assert '"event":"worker_replaced"' in errors
    assert "SIGKILL" in errors
    (warning,) = [line for line in job.report()["warnings"] if "SIGKILL" in line]
    assert warning.startswith("worker replaced")
    assert same_rows(job.rows(), undisturbed)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, ExitCode.INTERRUPTED), (signal.SIGTERM, ExitCode.TERMINATED)],
)
def test_a_signal_drains_commits_and_leaves_a_run_that_resumes(
    job: Any, undisturbed: dict[str, Any], number: signal.Signals, code: ExitCode
) -> None:
    process = slow_job(job).start()
    wait_for(lambda: len(manifests(job)) >= 2)
    os.killpg(process.pid, number)
    output, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == code, errors
    assert '"event":"draining"' in errors
    assert "Traceback" not in errors
    assert "run the same command again" in output + errors
    done = len(manifests(job))
    assert 2 <= done < 12
    result = job.run()
    assert result.exit_code is ExitCode.OK
    assert result.report.resumed.splits_reused == done
    assert same_rows(job.rows(), undisturbed)


def test_of_two_runs_at_once_one_works_and_the_other_is_told(
    job: Any, undisturbed: dict[str, Any]
) -> None:
    first = slow_job(job).start()
    wait_for(lambda: len(workers_of(first)) == 2 and len(manifests(job)) >= 1)
    workers = workers_of(first)
    for worker in workers:  # so that it does not end while the second one watches it
        worker.suspend()
    second = job.start()
    _, refusal = second.communicate(timeout=TIMEOUT_S)
    for worker in workers:
        worker.resume()
    _, errors = first.communicate(timeout=TIMEOUT_S)
    assert (first.returncode, second.returncode) == (ExitCode.OK, ExitCode.OUTPUT), errors
    assert "is at work on this output" in " ".join(refusal.split())
    assert "Traceback" not in refusal
    assert len(manifests(job)) == 12
    assert same_rows(job.rows(), undisturbed)


ZOMBIE = """
import sys, pathlib, yaml
from embed_job.commit.lease import Rhythm
from embed_job.progress import SilentProgress
from embed_job.run import run_job
from embed_job.spec import JobSpec

if __name__ == "__main__":
    spec = JobSpec.model_validate(yaml.safe_load(pathlib.Path(sys.argv[1]).read_text()))
    folder = pathlib.Path(sys.argv[2])
    folder.mkdir()
    result = run_job(spec, progress=SilentProgress(), report_dir=folder,
                     rhythm=Rhythm(beat_s=0.1, dead_s=2.0))
    print(*result.report.problems)
    sys.exit(result.exit_code)
"""


def test_a_run_that_stood_still_and_was_taken_over_commits_and_removes_nothing(job: Any) -> None:
    slow_job(job)
    script = job.folder / "zombie.py"
    script.write_text(ZOMBIE)
    command = [sys.executable, str(script), str(job.spec_file()), str(job.folder / "late")]
    late = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    wait_for(lambda: len(manifests(job)) >= 2)
    os.killpg(late.pid, signal.SIGSTOP)
    # What it has listed is no longer what counts.
    job.write("000.jsonl", [{"id": "new", "text": "a new text"}])
    job.allow_deletions()
    assert job.run(rhythm=Rhythm(beat_s=0.1, dead_s=2.0)).exit_code is ExitCode.OK
    rows, private = job.rows(), job.output / "_embed_job"
    before = {path: path.read_bytes() for path in [private / "job.json", *job.output.glob("*.p*")]}
    os.killpg(late.pid, signal.SIGCONT)
    told, _ = late.communicate(timeout=TIMEOUT_S)
    assert late.returncode == ExitCode.INCOMPLETE
    assert "has taken over" in told
    assert {path: path.read_bytes() for path in before} == before
    assert job.rows() == rows
    assert "new" in rows


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    folder = tmp_path / "small-disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        reason = "NOT TESTED: a full disk, as mounting a tmpfs needs root"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_one_message_and_the_run_resumes_with_space(
    job: Any, small_disk: Path
) -> None:
    job.write_corpus(files=40, documents=700)
    job.output = small_disk / "out"
    job.spec["outputs"][0]["parquet"]["uri"] = str(job.output)
    process = job.start()
    _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == ExitCode.OUTPUT, errors
    assert "the disk is full" in errors
    assert "Traceback" not in errors
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    result = job.run()
    assert result.exit_code is ExitCode.OK
    assert len(job.rows()) == 28_000
    assert result.report.counts.documents.written == 28_000


def test_a_read_only_output_is_one_message(job: Any, small_disk: Path) -> None:
    job.write_corpus(files=1, documents=5)
    job.spec["outputs"][0]["parquet"]["uri"] = str(small_disk / "out")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    process = job.start()
    _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == ExitCode.OUTPUT, errors
    assert "Traceback" not in errors


def test_a_damaged_bundle_is_refused_before_anything_is_written(
    job: Any, tiny_bundle: Path
) -> None:
    job.write_corpus(files=1, documents=5)
    bundle = job.folder / "bundle"
    shutil.copytree(tiny_bundle, bundle)
    weights = bytearray((bundle / "model.safetensors").read_bytes())
    weights[-5] ^= 1
    (bundle / "model.safetensors").write_bytes(weights)
    job.spec["model"] = {"bundle": str(bundle)}
    process = job.start()
    _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == ExitCode.BUNDLE
    assert "model.safetensors" in errors
    assert not job.output.exists()
