"""What this process may use of the machine, and what it has used."""

from __future__ import annotations

import os
import resource
from pathlib import Path


def usable_cores() -> int:
    """Cores this process may run on: its affinity, less where a cgroup v2 quota allows less."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = _cgroup_quota(Path("/sys/fs/cgroup/cpu.max"))
    return max(1, min(allowed or 1, quota or allowed or 1))


def _cgroup_quota(cpu_max: Path) -> int | None:
    try:
        quota, period = cpu_max.read_text().split()
        return None if quota == "max" else max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return None


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
