"""Cores and memory as cgroups, both versions, allow them; GPUs by their device files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from embed_job.machine import gpus, usable_cores, usable_memory

MIB = 2**20
ALLOWED = len(os.sched_getaffinity(0))


class Cgroups:
    """A /sys/fs/cgroup and a /proc of files."""

    def __init__(self, folder: Path, lines: str) -> None:
        self.cgroups, self.proc = folder / "cgroup", folder / "proc"
        (self.proc / "self").mkdir(parents=True)
        (self.proc / "self" / "cgroup").write_text(lines)

    def put(self, name: str, content: str) -> Cgroups:
        path = self.cgroups / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
        return self

    def cores(self) -> int:
        return usable_cores(cgroups=self.cgroups, proc=self.proc)

    def memory(self) -> int:
        return usable_memory(cgroups=self.cgroups, proc=self.proc)


@pytest.mark.parametrize(
    ("content", "cores"),
    [
        ("100000 100000", 1),
        ("150000 100000", 1),
        ("50000 100000", 1),
        ("max 100000", ALLOWED),
        ("9900000 100000", ALLOWED),
        ("100000", ALLOWED),
        ("100000 0", ALLOWED),
        ("", ALLOWED),
        ("nonsense here", ALLOWED),
    ],
)
def test_a_quota_of_version_2(tmp_path: Path, content: str, cores: int) -> None:
    assert Cgroups(tmp_path, "0::/\n").put("cpu.max", content).cores() == cores


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("100000", 1), ("150000", 1), ("10000", 1), ("-1", ALLOWED), ("9900000", ALLOWED)],
)
@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
def test_a_quota_of_version_1(tmp_path: Path, mount: str, quota: str, cores: int) -> None:
    found = Cgroups(tmp_path, f"5:memory:/docker/abc\n4:{mount}:/docker/abc\n0::/docker/abc\n")
    found.put(f"{mount}/cpu.cfs_quota_us", quota).put(f"{mount}/cpu.cfs_period_us", "100000")
    assert found.cores() == cores


@pytest.mark.skipif(ALLOWED < 2, reason="one core can't be made fewer")
def test_two_cores_of_version_1_stay_two(tmp_path: Path) -> None:
    found = Cgroups(tmp_path, "4:cpu,cpuacct:/\n")
    found.put("cpu/cpu.cfs_quota_us", "290000").put("cpu/cpu.cfs_period_us", "100000")
    assert found.cores() == 2


def test_the_limit_of_any_cgroup_above_counts(tmp_path: Path) -> None:
    found = Cgroups(tmp_path, "0::/job/step/task\n")
    found.put("job/step/task/cpu.max", "max 100000").put("job/cpu.max", "100000 100000")
    found.put("job/step/memory.max", str(700 * MIB)).put("job/memory.max", str(900 * MIB))
    assert found.cores() == 1
    assert found.memory() == 700 * MIB


def test_a_sibling_does_not_count(tmp_path: Path) -> None:
    found = Cgroups(tmp_path, "0::/job/a\n")
    found.put("job/b/cpu.max", "100000 100000").put("job/b/memory.max", str(10 * MIB))
    assert found.cores() == ALLOWED
    assert found.memory() > 10 * MIB


def test_a_path_above_the_namespace_reads_the_root(tmp_path: Path) -> None:
    outside = tmp_path / "cpu.max"
    found = Cgroups(tmp_path, "0::/../other\n").put("cpu.max", "100000 100000")
    outside.write_text("1 1\n")
    assert found.cores() == 1


def test_memory_of_version_1(tmp_path: Path) -> None:
    found = Cgroups(tmp_path, "6:memory:/docker/abc\n4:cpu:/docker/abc\n")
    assert found.put("memory/memory.limit_in_bytes", str(512 * MIB)).memory() == 512 * MIB


def test_no_limit_is_the_machine(tmp_path: Path) -> None:
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found = Cgroups(tmp_path, "6:memory:/\n0::/\n")
    found.put("memory.max", "max").put("memory/memory.limit_in_bytes", "9223372036854771712")
    assert found.memory() == machine


def test_a_machine_without_cgroups(tmp_path: Path) -> None:
    assert usable_cores(cgroups=tmp_path / "none", proc=tmp_path / "none") == ALLOWED
    assert usable_memory(cgroups=tmp_path / "none", proc=tmp_path / "none") > 0


@pytest.mark.skipif(ALLOWED < 2, reason="one core can't be made fewer")
def test_affinity_counts(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert usable_cores(cgroups=tmp_path, proc=tmp_path) == 1
    finally:
        os.sched_setaffinity(0, before)


GPU_ID = "GPU-8f6e2b1a-0000-1111-2222-333344445555"


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, ("0", "1")),
        ({"NVIDIA_VISIBLE_DEVICES": "all"}, ("0", "1")),
        ({"NVIDIA_VISIBLE_DEVICES": "void"}, ()),
        ({"CUDA_VISIBLE_DEVICES": "1"}, ("1",)),
        ({"CUDA_VISIBLE_DEVICES": "1, 0"}, ("1", "0")),
        ({"CUDA_VISIBLE_DEVICES": ""}, ()),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, ()),
        ({"CUDA_VISIBLE_DEVICES": "0,2,1"}, ("0",)),
        ({"CUDA_VISIBLE_DEVICES": GPU_ID}, (GPU_ID,)),
    ],
)
def test_gpus_are_those_of_the_device_files_that_are_not_hidden(
    tmp_path: Path, environment: dict[str, str], found: tuple[str, ...]
) -> None:
    for name in ("nvidia0", "nvidia3", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    assert gpus(dev=tmp_path, environment=environment) == found


def test_a_machine_without_device_files_has_no_gpu(tmp_path: Path) -> None:
    assert gpus(dev=tmp_path, environment={}) == ()
    assert gpus(dev=tmp_path, environment={"CUDA_VISIBLE_DEVICES": "0"}) == ()
    assert gpus(dev=tmp_path / "missing", environment={}) == ()
