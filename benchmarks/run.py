"""Every benchmark, one after the other, into ``benchmarks/results/<machine>-<date>.md`` and .json.

A run replaces the sections that it ran and keeps the others of that machine and day. A full run
also makes the tables of README.md and docs anew, those of the benchmarks that it ran. Exit code 1
where something is incorrect or could not be run; a missed speed is printed alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.device import gpu_names
from benchmarks.readme import update_all
from benchmarks.record import Entry, record, section_from, slug
from benchmarks.results import ROOT, Setting, arguments, say, setting_of
from embed_job.report.machine import this_machine

NAMES = (
    "end_to_end",
    "overhead",
    "linear",
    "start_up",
    "workers",
    "agreement",
    "sharing",
    "plan_scale",
    "billion",
    "load",
    "refresh",
    "lookup_scale",
)
"""What ``make bench`` runs; a short run has the GPU's benchmark too, on the CPU."""
PACKAGES = (
    "numpy",
    "onnxruntime",
    "opensearch-py",
    "orjson",
    "pyarrow",
    "sentence-transformers",
    "tokenizers",
    "torch",
    "transformers",
)


def run_all(setting: Setting, names: list[str], command: str) -> int:
    """Run, write, print; the exit code. command: what this was started with, for the reader."""
    facts = _facts(setting, names, command)
    found: dict[str, Entry] = {}
    for name in names:
        say(f"== {name}")
        path = setting.work / f"{name}.json"
        path.unlink(missing_ok=True)
        arguments = [sys.executable, "-m", f"benchmarks.{name}", "--size", setting.size]
        arguments += ["--cores", str(setting.cores), "--json", str(path)]
        done = subprocess.run(arguments, cwd=ROOT, check=False, stdout=subprocess.DEVNULL)
        data = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
        found[name] = Entry(facts, done.returncode != 0, section_from(data) if data else None)
    page, text = record(ROOT / "benchmarks" / "results", facts, found, order=[*NAMES, "gpu"])
    print(text)
    say(f"written to {page.relative_to(ROOT)}")
    if setting.size == "full":
        sound = {
            name: entry.section
            for name, entry in found.items()
            if entry.section and not entry.failed
        }
        for line in update_all(ROOT, sound, source=_source(facts)):
            say(line)
    return 1 if any(entry.failed for entry in found.values()) else 0


def _source(facts: dict[str, Any]) -> str:
    """Where, when and of which commit a table is."""
    parts = [*facts["gpus"], f"{facts['cpu']}, {facts['cores']} cores"]
    parts.append(" ".join(facts["instructions"]))
    return f"{'; '.join(parts)}; {facts['date']}, commit {facts['commit']}."


def _facts(setting: Setting, names: list[str], command: str) -> dict[str, Any]:
    machine = this_machine()
    devices = gpu_names() if "gpu" in names else []
    instructions = _instructions()
    return {
        "slug": slug(machine.cpu, instructions, setting.cores, gpus=devices),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "cpu": machine.cpu,
        "gpus": devices,
        "cores": setting.cores,
        "instructions": instructions,
        "platform": machine.platform,
        "python": machine.python,
        "commit": _commit(),
        "size": setting.size,
        "load_average_1_min": round(os.getloadavg()[0], 2),
        "command": command,
        "versions": {package: metadata.version(package) for package in PACKAGES},
    }


def _instructions() -> list[str]:
    """What of the processor decides over the speed of matrix products."""
    wanted = ["avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile"]
    wanted += ["asimd", "asimddp", "i8mm", "sve"]
    try:
        found = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return []
    return [name for name in wanted if name in found]


def _commit() -> str:
    """The commit, marked where the working tree differs from it."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*", "--abbrev=12"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "none yet"


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--only", nargs="+", choices=[*NAMES, "gpu"])
    chosen = parser.parse_args()
    usual = [*NAMES, "gpu"] if chosen.size == "ci" else list(NAMES)
    setting = setting_of(chosen)
    shown = f"python -m benchmarks.run --size {setting.size} --cores {setting.cores}"
    shown += f" --only {' '.join(chosen.only)}" if chosen.only else ""
    sys.exit(run_all(setting, chosen.only or usual, shown))
