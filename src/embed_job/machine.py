"""What this process may use of the machine, and what it has used."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator, Mapping
from itertools import takewhile
from pathlib import Path, PurePosixPath

CGROUPS, PROC, DEV = Path("/sys/fs/cgroup"), Path("/proc"), Path("/dev")


def usable_cores(*, cgroups: Path = CGROUPS, proc: Path = PROC) -> int:
    """Cores this process may use: its affinity (cpusets are part of it), less where a quota of a
    cgroup, v1 or v2, allows less. A quota of 1.5 cores counts as 1.

    cgroups, proc: where those file systems are mounted.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quotas = [
        quota
        for folder in _cgroup_folders("cpu", cgroups, proc)
        if (quota := _quota(folder)) is not None
    ]
    return max(1, int(min([allowed or 1, *quotas])))


def usable_memory(*, cgroups: Path = CGROUPS, proc: Path = PROC) -> int:
    """Bytes of memory this process and its children may use: the machine's, less where a cgroup
    allows less."""
    limits = [
        limit
        for folder in _cgroup_folders("memory", cgroups, proc)
        for name in ("memory.max", "memory.limit_in_bytes")
        if (limit := _number(folder / name)) is not None
    ]
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *limits])


def gpus(*, dev: Path = DEV, environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The CUDA devices this process may use, each as CUDA_VISIBLE_DEVICES would name it.

    Found by their device files, which a container has for its own GPUs alone: no library is
    loaded. dev: where device files are.
    """
    files = sum(path.name[len("nvidia") :].isdecimal() for path in dev.glob("nvidia[0-9]*"))
    if environment.get("NVIDIA_VISIBLE_DEVICES") in ("none", "void"):
        return ()
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if not files or chosen is None:
        return tuple(map(str, range(files)))
    names = [name.strip() for name in chosen.split(",")]
    # As CUDA reads it: what follows a name that is no device is not seen.
    return tuple(takewhile(lambda name: _is_device(name, files), names))


def _is_device(name: str, devices: int) -> bool:
    """Whether it is a number of one, or an identifier like GPU-8f… and MIG-4c…."""
    return int(name) < devices if name.isdecimal() else name.startswith(("GPU-", "MIG-"))


def _cgroup_folders(controller: str, cgroups: Path, proc: Path) -> Iterator[Path]:
    """The folders of this process's cgroup and of all above it, each of which may set a limit.

    A container without a cgroup namespace reads the host's path in /proc/self/cgroup, and finds
    its own limits at the root of the mount: what does not exist below it is passed over.
    """
    try:
        lines = (proc / "self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    mounts: list[tuple[Path, str]] = [(cgroups, "/")]
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            mounts += [(cgroups, path), (cgroups / "unified", path)]
        elif controller in controllers.split(","):
            mounts += [(cgroups / name, path) for name in (controllers, controller)]
    for mount, path in mounts:
        inside = PurePosixPath(path.lstrip("/"))
        if ".." in inside.parts:  # of a cgroup above the namespace's root: not to be seen here
            inside = PurePosixPath()
        yield from (mount / part for part in (inside, *inside.parents))


def _quota(folder: Path) -> float | None:
    """Cores that a cgroup allows; None where it sets no limit."""
    try:
        found = (folder / "cpu.max").read_text().split()
        quota, period = found[0], int(found[1])
    except (OSError, ValueError, IndexError):
        period = _number(folder / "cpu.cfs_period_us") or 0
        quota = str(_number(folder / "cpu.cfs_quota_us") or "max")
    return int(quota) / period if quota.isdecimal() and period > 0 else None


def _number(path: Path) -> int | None:
    """The number that is a file's content; None where there is none, as in "max" and "-1"."""
    try:
        content = path.read_text().strip()
    except OSError:
        return None
    return int(content) if content.isdecimal() else None


def processor_name() -> str:
    """The processor as Linux names it; "unknown" elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown"
    return next(
        (line.split(":", 1)[1].strip() for line in lines if "model name" in line), "unknown"
    )


def peak_rss_bytes() -> int:
    """Peak resident memory of this process, in bytes.

    ``ru_maxrss`` is inherited from the parent through exec on Linux, so VmHWM is asked first.
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
