"""A job to run for real: a generated corpus, the tiny bundle, worker processes, local files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from embed_job.dataset import open_dataset
from embed_job.progress import SilentProgress
from embed_job.run import RunResult, run_job
from embed_job.spec import JobSpec
from embed_job.storage import store_for

WORDS = [
    "river",
    "stone",
    "light",
    "paper",
    "engine",
    "garden",
    "winter",
    "signal",
    "copper",
    "thread",
    "window",
    "harbour",
]


def sentence(number: int) -> str:
    """A text that no other number has."""
    digits = [number // len(WORDS) ** place % len(WORDS) for place in range(4)]
    return f"{' '.join(WORDS[digit] for digit in digits)}."


class Job:
    """A corpus folder, a spec that may be changed, and what came of running it."""

    def __init__(self, folder: Path, bundle: Path) -> None:
        self.folder = folder
        self.input = folder / "in"
        self.output = folder / "out"
        self.input.mkdir()
        self.spec: dict[str, Any] = {
            "name": "test",
            "input": {"uri": str(self.input)},
            "model": {"bundle": str(bundle), "engine": "null"},
            "outputs": [{"parquet": {"uri": str(self.output), "text": True}}],
            "execution": {"workers": 2},
        }

    def write(self, name: str, documents: list[dict[str, Any]]) -> Path:
        """A JSONL file of the corpus."""
        path = self.input / name
        path.write_bytes(b"".join(orjson.dumps(document) + b"\n" for document in documents))
        return path

    def write_corpus(self, files: int, documents: int) -> None:
        """Files of so many documents each."""
        for file in range(files):
            numbers = range(file * documents, (file + 1) * documents)
            self.write(
                f"{file:03}.jsonl", [{"id": f"d{n:06}", "text": sentence(n)} for n in numbers]
            )

    def prose(self, size_bytes: int) -> str:
        """A text of at least so many bytes; each of its long words is one unknown token."""
        line = " ".join([*["\u0436" * 101] * 5, "stone."])
        return "\n".join([line] * (size_bytes // len(line.encode()) + 1))

    def run(self) -> RunResult:
        return run_job(
            JobSpec.model_validate(self.spec),
            progress=SilentProgress(),
            report_dir=self.folder / "report",
        )

    def spec_file(self) -> Path:
        path = self.folder / "job.yaml"
        path.write_text(yaml.safe_dump(self.spec))
        return path

    def start(self) -> subprocess.Popen[str]:
        """The same run as a process of its own, in a process group of its own."""
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "launcher.cli", "run", str(self.spec_file())),
                *("--report", str(self.folder / "report")),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "COLUMNS": "200"},
        )

    def rows(self) -> dict[str, tuple[Any, ...]]:
        """id → (text, vector) of every row that counts, each id once."""
        dataset = open_dataset(store_for(str(self.output)), str(self.output))
        rows: dict[str, tuple[Any, ...]] = {}
        for batch in dataset.iter_rows(columns=["id", "text", "vector"]):
            for row in batch.to_pylist():
                assert row["id"] not in rows, f"{row['id']} twice"
                rows[row["id"]] = (row["text"], tuple(row["vector"]))
        return rows

    def report(self) -> dict[str, Any]:
        """The last run's report.json."""
        report: dict[str, Any] = orjson.loads((self.folder / "report/report.json").read_bytes())
        return report

    def letters(self) -> list[dict[str, Any]]:
        """Every dead letter."""
        found = sorted((self.output / "_embed_job" / "dead-letters").glob("*.jsonl"))
        return [orjson.loads(line) for path in found for line in path.read_bytes().splitlines()]

    def parts(self) -> dict[str, int]:
        """Names and inodes of the Parquet files."""
        return {path.name: path.stat().st_ino for path in self.output.glob("*.parquet")}


@pytest.fixture
def job(tmp_path: Path, tiny_bundle: Path) -> Job:
    return Job(tmp_path, tiny_bundle)


@pytest.fixture
def make_job(tmp_path: Path, tiny_bundle: Path) -> Callable[[str], Job]:
    def make(name: str) -> Job:
        folder = tmp_path / name
        folder.mkdir()
        return Job(folder, tiny_bundle)

    return make
