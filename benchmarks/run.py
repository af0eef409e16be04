"""Every benchmark, one after the other, into ``benchmarks/results/<machine>-<date>.md`` and .json.

Exit code 1 where something is incorrect or could not be run; a missed speed is printed alone.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.results import ROOT, Section, Setting, Table, Target, arguments, say, setting_of
from embed_job.report.machine import this_machine

NAMES = ("end_to_end", "overhead", "memory", "workers", "sharing", "plan_scale", "load")
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


def run_all(setting: Setting, names: list[str]) -> int:
    """Run, write, print; the exit code."""
    facts = _facts(setting)
    sections, failed = [], []
    for name in names:
        say(f"== {name}")
        path = setting.work / f"{name}.json"
        path.unlink(missing_ok=True)
        command = [sys.executable, "-m", f"benchmarks.{name}", "--size", setting.size]
        command += ["--cores", str(setting.cores), "--json", str(path)]
        done = subprocess.run(command, cwd=ROOT, check=False, stdout=subprocess.DEVNULL)
        if done.returncode:
            failed.append(name)
        if path.exists():
            sections.append((name, _section(json.loads(path.read_text(encoding="utf-8")))))
    text = _render(facts, sections, failed)
    folder = ROOT / "benchmarks" / "results"
    folder.mkdir(exist_ok=True)
    stem = f"{facts['slug']}-{facts['date']}" + ("-ci" if setting.size == "ci" else "")
    (folder / f"{stem}.md").write_text(text, encoding="utf-8")
    data = {"machine": facts, "failed": failed, "results": {n: s.data for n, s in sections}}
    (folder / f"{stem}.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    print(text)
    say(f"written to benchmarks/results/{stem}.md")
    return 1 if failed else 0


def _section(data: dict[str, Any]) -> Section:
    tables = [
        Table(tuple(table["headers"]), [tuple(row) for row in table["rows"]])
        for table in data["tables"]
    ]
    targets = [Target(**target) for target in data["targets"]]
    return Section(**(data | {"tables": tables, "targets": targets}))


def _facts(setting: Setting) -> dict[str, Any]:
    machine = this_machine()
    name = f"{machine.cpu} {setting.cores} cores"
    return {
        "slug": re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-"),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "cpu": machine.cpu,
        "cores": setting.cores,
        "instructions": _instructions(),
        "platform": machine.platform,
        "python": machine.python,
        "commit": _commit(),
        "size": setting.size,
        "load_average_1_min": round(os.getloadavg()[0], 2),
        "command": f"python -m benchmarks.run --size {setting.size} --cores {setting.cores}",
        "versions": {package: metadata.version(package) for package in PACKAGES},
    }


def _instructions() -> list[str]:
    """What of the processor decides over the speed of matrix products."""
    wanted = ["avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "amx_tile"]
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


def _render(facts: dict[str, Any], sections: list[tuple[str, Section]], failed: list[str]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    head = [
        f"# Benchmarks on {facts['cpu']}, {facts['cores']} cores, {facts['date']}",
        f"{facts['platform']}, {' '.join(facts['instructions'])}; Python {facts['python']}; "
        f"commit {facts['commit']}; {versions}.",
        f"`{facts['command']}`, begun at a load average of {facts['load_average_1_min']}.",
    ]
    if facts["size"] == "ci":
        head.append("A short run: it shows that all works, its figures mean little.")
    head += [f"**{name} FAILED**" for name in failed]
    return "\n\n".join([*head, *(section.markdown().rstrip() for _, section in sections)]) + "\n"


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--only", nargs="*", choices=NAMES, default=list(NAMES))
    chosen = parser.parse_args()
    sys.exit(run_all(setting_of(chosen), chosen.only))
