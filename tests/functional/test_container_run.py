"""Whole containers as processes with roots of their own: shares, outputs, faults, signals."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest

from embed_job.errors import ExitCode

PRIVATE_WORDS = "saffron quadrant meridian"
LEAVE_S = 10.0


@pytest.fixture
def corpus(containers: ModuleType, tiny_bundle: Path) -> Any:
    found = containers.Corpus(tiny_bundle)
    found.add(files=6, documents=40, words=PRIVATE_WORDS)
    return found


def slow(corpus: Any, *, documents: int = 400) -> Any:
    """Several seconds of real model on many splits."""
    corpus.add(files=12, documents=documents)
    corpus.spec["model"]["engine"] = "onnx"
    corpus.spec["execution"] = {"workers": 2, "batch_tokens": 32}
    return corpus


def privileged(*command: str) -> None:
    """Run what needs root; in CI it must work."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = f"NOT TESTED: {' '.join(command)}: {done.stderr.strip()}"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB, where a container's root may lie."""
    folder = tmp_path / "small-disk"
    folder.mkdir()
    privileged("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder))
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_two_hosts_embed_their_shares_and_say_so(
    containers: ModuleType, corpus: Any, tmp_path: Path
) -> None:
    names = sorted(corpus.files)
    roots = [
        containers.Root(
            tmp_path / str(host), corpus, host=host + 1, hosts=2, documents=names[host::2]
        )
        for host in range(2)
    ]
    ended = [root.run() for root in roots]
    for host, one in enumerate(ended, 1):
        assert one.code == ExitCode.OK, str(one)
        assert one.message.startswith(f"algo-{host} 0 OK: ")
        assert "120 documents read = 120 written + 0 rejected + 0 skipped" in one.message
        assert len(one.message.encode()) <= 512
        metrics = [line for line in one.log if "_aws" in line]
        assert sum(line["documents"] for line in metrics) == 120
        for line in one.log:
            assert (line["host"], line["job"]) == (f"algo-{host}", containers.JOB)
        said = json.dumps(one.log) + one.errors + one.message
        assert not any(word in said for word in PRIVATE_WORDS.split())
        assert one.log[-1]["event"] == "exit"
    found = containers.rows(*roots)
    assert len(found) == len(set(found)) == 240
    assert set(found) == corpus.ids


def test_nothing_unfinished_lies_in_the_output(
    containers: ModuleType, corpus: Any, tmp_path: Path
) -> None:
    root = containers.Root(tmp_path, corpus, documents=corpus.files)
    assert root.run().code == ExitCode.OK
    left = [path for path in root.vectors.rglob("*") if path.is_file()]
    assert left
    assert not [path for path in left if path.name.startswith(".") or "spool" in str(path)]


@pytest.mark.parametrize("documents", [(), None])
def test_an_empty_share_is_a_success(
    containers: ModuleType, corpus: Any, tmp_path: Path, documents: tuple[str, ...] | None
) -> None:
    root = containers.Root(tmp_path, corpus, host=100, hosts=100, documents=documents)
    ended = root.run()
    assert ended.code == ExitCode.OK, str(ended)
    assert ended.message == "algo-100 0"
    assert "0 documents read" in ended.log[-1]["text"]


def test_what_an_earlier_job_committed_is_not_embedded_again(
    containers: ModuleType, corpus: Any, tmp_path: Path
) -> None:
    first = containers.Root(tmp_path / "1", corpus, documents=sorted(corpus.files)[:4], hosts=2)
    assert first.run().code == ExitCode.OK
    second = containers.Root(tmp_path / "2", corpus, documents=corpus.files)
    second.bring_manifests_of(first)
    ended = second.run()
    assert ended.code == ExitCode.OK, str(ended)
    (started,) = ended.events("started")
    assert started["splits_committed_before"] == len(first.manifests)
    assert not {path.name for path in first.manifests} & {path.name for path in second.manifests}
    found = containers.rows(first, second)
    assert len(found) == len(set(found)) == 240


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, ExitCode.TERMINATED), (signal.SIGINT, ExitCode.INTERRUPTED)],
)
def test_a_signal_leaves_a_state_that_resumes(
    containers: ModuleType, corpus: Any, tmp_path: Path, number: signal.Signals, code: ExitCode
) -> None:
    slow(corpus)
    first = containers.Root(tmp_path / "1", corpus, documents=corpus.files)
    process = first.start()
    containers.wait_for(lambda: len(first.manifests) >= 2, process)
    assert containers.stop(process, number) < LEAVE_S
    ended = first.end(process)
    assert ended.code == code, str(ended)
    assert ended.message.startswith(f"algo-1 {int(code)} {code.name}: ")
    assert "Traceback" not in ended.errors
    done = len(first.manifests)
    second = containers.Root(tmp_path / "2", corpus, documents=corpus.files)
    second.bring_manifests_of(first)
    again = second.run()
    assert again.code == ExitCode.OK, str(again)
    assert again.events("started")[0]["splits_committed_before"] == done
    found = containers.rows(first, second)
    assert len(found) == len(set(found))
    assert set(found) == corpus.ids


def test_splits_that_do_not_finish_are_left(
    containers: ModuleType, corpus: Any, tmp_path: Path
) -> None:
    slow(corpus)
    corpus.spec["execution"] |= {"workers": 1, "drain_timeout_s": 3600}
    root = containers.Root(tmp_path, corpus, documents=corpus.files)
    process = root.start()
    containers.wait_for(lambda: len(root.manifests) >= 1, process)
    (worker,) = workers_of(process)
    worker.suspend()
    assert containers.stop(process, signal.SIGTERM) < LEAVE_S
    ended = root.end(process)
    assert ended.code == ExitCode.TERMINATED, str(ended)
    assert ended.events("draining")[0]["timeout_s"] == 6
    assert "submit again" in ended.message
    assert not worker.is_running()


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def test_a_signal_at_any_early_moment_is_heeded(
    containers: ModuleType, corpus: Any, tmp_path: Path
) -> None:
    slow(corpus)
    for number, after_s in enumerate((0.15, 0.4, 0.8, 1.3)):
        root = containers.Root(tmp_path / str(number), corpus, documents=corpus.files)
        process = root.start()
        time.sleep(after_s)
        assert containers.stop(process, signal.SIGTERM) < LEAVE_S
        ended = root.end(process)
        assert ended.code in (ExitCode.TERMINATED, -signal.SIGTERM), str(ended)
        assert "Traceback" not in ended.errors


def test_a_second_signal_ends_it_at_once(
    containers: ModuleType, corpus: Any, tmp_path: Path
) -> None:
    slow(corpus)
    corpus.spec["execution"]["workers"] = 1
    root = containers.Root(tmp_path, corpus, documents=corpus.files)
    process = root.start()
    containers.wait_for(lambda: len(root.manifests) >= 1, process)
    (worker,) = workers_of(process)
    worker.suspend()
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert containers.stop(process, signal.SIGTERM) < 3
    assert root.end(process).code == ExitCode.TERMINATED


def test_as_process_1_it_is_stopped_by_a_signal(
    containers: ModuleType, corpus: Any, tmp_path: Path
) -> None:
    privileged("unshare", "--pid", "--fork", "true")
    slow(corpus)
    root = containers.Root(tmp_path, corpus, documents=corpus.files)
    process = root.start("unshare", "--pid", "--fork", "--mount-proc")
    containers.wait_for(lambda: len(root.manifests) >= 1, process)
    (first,) = psutil.Process(process.pid).children()
    began = time.monotonic()
    first.send_signal(signal.SIGTERM)
    ended = root.end(process)
    assert time.monotonic() - began < LEAVE_S
    assert ended.code == ExitCode.TERMINATED, str(ended)
    assert not first.is_running()


@pytest.mark.parametrize(
    "busy", ["hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)", "time.sleep(99)"]
)
def test_the_deadline_does_not_wait_for_the_main_thread(busy: str) -> None:
    program = f"""
        import hashlib, time
        from container.deadline import Deadline
        from embed_job.stop import StopSignals
        with StopSignals(), Deadline(0.5, last_words=lambda code: print("last", code, flush=True)):
            print("ready", flush=True)
            {busy}
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=5)
    assert (process.returncode, output) == (143, "last 143\n")


@pytest.mark.parametrize(
    ("field", "value", "code", "said"),
    [
        ("model_fingerprint", "f" * 64, ExitCode.BUNDLE, "is another model"),
        ("protocol", 99, ExitCode.USAGE, "protocol"),
    ],
)
def test_an_order_that_does_not_fit_the_image(
    containers: ModuleType,
    corpus: Any,
    tmp_path: Path,
    field: str,
    value: Any,
    code: ExitCode,
    said: str,
) -> None:
    corpus.order[field] = value
    ended = containers.Root(tmp_path, corpus, documents=corpus.files).run()
    assert ended.code == code, str(ended)
    assert said in ended.message
    assert "Traceback" not in ended.errors


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"spec": 1}', b"\xff\xfe"])
def test_a_damaged_order(
    containers: ModuleType, corpus: Any, tmp_path: Path, content: bytes | None
) -> None:
    root = containers.Root(tmp_path, corpus, documents=corpus.files)
    root.order.unlink()
    if content is not None:
        root.order.write_bytes(content)
    ended = root.run()
    assert ended.code == ExitCode.USAGE, str(ended)
    assert "order.json" in ended.message
    assert "Traceback" not in ended.errors


def test_a_damaged_listing(containers: ModuleType, corpus: Any, tmp_path: Path) -> None:
    root = containers.Root(tmp_path, corpus, documents=corpus.files)
    listing = root.order.with_name("listing.parquet")
    listing.write_bytes(listing.read_bytes()[:-20])
    ended = root.run()
    assert ended.code not in (ExitCode.OK, ExitCode.BUG), str(ended)
    assert "listing.parquet" in ended.message


@pytest.mark.parametrize("change", ["grown", "unknown"])
def test_documents_that_are_not_as_listed(
    containers: ModuleType, corpus: Any, tmp_path: Path, change: str
) -> None:
    root = containers.Root(tmp_path, corpus, documents=corpus.files)
    name = "000.jsonl" if change == "grown" else "999.jsonl"
    with (root.documents / name).open("ab") as stream:
        stream.write(b'{"id": "x", "text": "y"}\n')
    ended = root.run()
    assert ended.code == ExitCode.INPUT, str(ended)
    assert name in ended.message


def test_no_bundle(containers: ModuleType, corpus: Any, tmp_path: Path) -> None:
    corpus.spec["model"]["bundle"] = "/nowhere/bundle"
    ended = containers.Root(tmp_path, corpus, documents=corpus.files).run()
    assert ended.code == ExitCode.BUNDLE, str(ended)


def test_the_images_own_bundle_serves_a_spec_of_another_machine(
    containers: ModuleType, corpus: Any, tmp_path: Path, tiny_bundle: Path
) -> None:
    corpus.spec["model"]["bundle"] = "/home/somebody/models/mine"
    root = containers.Root(tmp_path, corpus, documents=corpus.files)
    shutil.copytree(tiny_bundle, tmp_path / "models/default")
    assert root.run().code == ExitCode.OK


def test_a_volume_without_room(
    containers: ModuleType, corpus: Any, small_disk: Path, tmp_path: Path
) -> None:
    corpus.add(files=6, documents=1500)
    root = containers.Root(tmp_path / "root", corpus, documents=corpus.files)
    root.vectors.rmdir()
    root.vectors.symlink_to(small_disk)
    privileged("mount", "-o", "remount,size=200k", str(small_disk))
    ended = root.run()
    assert ended.code == ExitCode.OUTPUT, str(ended)
    assert "the disk is full" in ended.message
    assert "Traceback" not in ended.errors


def test_an_output_that_is_read_only(
    containers: ModuleType, corpus: Any, small_disk: Path, tmp_path: Path
) -> None:
    root = containers.Root(tmp_path / "root", corpus, documents=corpus.files)
    root.vectors.rmdir()
    root.vectors.symlink_to(small_disk)
    privileged("mount", "-o", "remount,ro", str(small_disk))
    ended = root.run()
    assert ended.code == ExitCode.OUTPUT, str(ended)
    assert "Read-only" in ended.message


def test_an_output_that_is_a_mount_of_its_own(
    containers: ModuleType, corpus: Any, tmp_path: Path
) -> None:
    """Of the same file system, and still no file can be renamed into it."""
    root = containers.Root(tmp_path / "root", corpus, documents=corpus.files)
    (tmp_path / "volume").mkdir()
    privileged("mount", "--bind", str(tmp_path / "volume"), str(root.vectors))
    try:
        ended = root.run()
    finally:
        subprocess.run(["umount", "-l", str(root.vectors)], check=True)
    assert ended.code == ExitCode.OK, str(ended)
    names = [path.name for path in (tmp_path / "volume").rglob("*")]
    assert sum(name.startswith("part-") for name in names) == len(corpus.files)
    assert not [name for name in names if name.startswith(".")]


def test_a_root_that_is_read_only(containers: ModuleType, corpus: Any, small_disk: Path) -> None:
    corpus.files = {name: corpus.files[name] for name in sorted(corpus.files)[:1]}
    root = containers.Root(small_disk / "root", corpus, documents=corpus.files)
    privileged("mount", "-o", "remount,ro", str(small_disk))
    ended = root.run()
    assert ended.code == ExitCode.OUTPUT, str(ended)
    assert ended.message == ""
    assert ended.events("message_not_written")[0]["why"] == "Read-only file system"
    assert ended.log[-1]["code"] == ExitCode.OUTPUT


def test_an_unforeseen_error_is_a_message_and_a_line(
    containers: ModuleType, corpus: Any, tmp_path: Path
) -> None:
    root = containers.Root(tmp_path, corpus, documents=corpus.files)
    root.order.unlink()
    root.order.mkdir()
    ended = root.run()
    assert ended.code == ExitCode.BUG, str(ended)
    assert "IsADirectoryError" in ended.message
    (bug,) = ended.events("bug")
    assert any("read_order" in frame for frame in bug["traceback"])
    assert "Traceback" not in ended.errors


def test_a_config_that_is_not_there(containers: ModuleType, corpus: Any, tmp_path: Path) -> None:
    root = containers.Root(tmp_path, corpus, documents=corpus.files)
    shutil.rmtree(root.ml / "config")
    ended = root.run()
    assert ended.code == ExitCode.USAGE, str(ended)
    assert "resourceconfig.json" in ended.message


def test_workers_are_as_many_as_the_machine_allows(
    containers: ModuleType, corpus: Any, tmp_path: Path
) -> None:
    corpus.spec["execution"] = {"workers": "auto"}
    root = containers.Root(tmp_path, corpus, documents=corpus.files)
    ended = root.run()
    assert ended.code == ExitCode.OK, str(ended)
    (workers,) = ended.events("workers")
    assert workers["workers"] == workers["cores"]
    assert workers["memory_mib"] > 0
    assert workers["gpus"] == 0
    (engine,) = ended.events("engine")
    assert (engine["engine"], engine["device"]) == ("null", "CPU")
