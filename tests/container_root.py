"""A container as one process with its own root: the files that SageMaker brings, and what it
takes away."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

import container.embed_shard
from embed_job.fleet.order import LISTING_FILE, LISTING_SCHEMA, ORDER_FILE, JobOrder, write_listing
from embed_job.manifest import SplitManifest
from embed_job.spec import JobSpec

TIMEOUT_S = 120
JOB = "kb-20261121"
ARN = f"arn:aws:sagemaker:us-east-1:123456789012:processing-job/{JOB}"


WORDS = "river stone light paper engine garden winter signal copper thread"
DIGITS = dict(zip("0123456789", WORDS.split(), strict=True))


def _said(file: int, number: int) -> str:
    return " ".join(DIGITS[digit] for digit in f"{file:02}{number:05}")


class Corpus:
    """The documents of a job by file name, and its spec."""

    def __init__(self, bundle: Path, **compute: Any) -> None:
        self.files: dict[str, bytes] = {}
        self.spec: dict[str, Any] = {
            "name": "kb",
            "input": {"uri": "s3://test-bucket/in/"},
            "model": {"bundle": str(bundle), "engine": "null"},
            "outputs": [{"parquet": {"uri": "s3://test-bucket/out/", "text": True}}],
            "execution": {"workers": 1},
            "compute": {"delivery": "processing_output", **compute},
        }
        self.etags: dict[str, str] = {}
        """As S3 gave them, by file name; made up where it was not asked."""
        self.order: dict[str, Any] = {}
        """Fields of the order that a test wants otherwise."""

    def add(self, files: int, documents: int, *, words: str = "about") -> None:
        """Files of so many documents, each text like no other's."""
        for number in range(files):
            lines = [
                orjson.dumps({"id": f"d{number:03}-{n:05}", "text": f"{words} {_said(number, n)}."})
                for n in range(documents)
            ]
            self.files[f"{number:03}.jsonl"] = b"\n".join(lines) + b"\n"

    @property
    def ids(self) -> set[str]:
        return {
            orjson.loads(line)["id"] for data in self.files.values() for line in data.splitlines()
        }

    def write_order(self, folder: Path) -> None:
        """order.json and listing.parquet."""
        folder.mkdir(parents=True, exist_ok=True)
        sizes = {name: len(data) for name, data in sorted(self.files.items())}
        order = JobOrder.model_validate(
            {
                "program_version": "0.1.0",
                "spec": JobSpec.model_validate(self.spec),
                "columns": {},
                "listed": True,
                "files": len(sizes),
                "bytes": sum(sizes.values()),
                "created_at": 1.8e9,
            }
            | self.order
        )
        (folder / ORDER_FILE).write_text(order.model_dump_json())
        etags = [self.etags.get(name, f"etag-of-{name}") for name in sizes]
        columns = [pa.array(sizes), pa.array(sizes.values(), pa.int64()), pa.array(etags)]
        batch = pa.RecordBatch.from_arrays(columns, schema=LISTING_SCHEMA)
        write_listing(folder / LISTING_FILE, [batch])


class Root:
    """One host's root. documents: names of the files that it is given; None: no such folder."""

    def __init__(
        self,
        root: Path,
        corpus: Corpus,
        *,
        host: int = 1,
        hosts: int = 1,
        documents: Iterable[str] | None = (),
    ) -> None:
        self.root = root
        self.ml = root / "opt/ml"
        self.vectors = self.ml / "processing/output/vectors"
        self.script = self.ml / "processing/input/code/embed_shard.py"
        self.script.parent.mkdir(parents=True)
        shutil.copyfile(container.embed_shard.__file__, self.script)
        corpus.write_order(self.ml / "processing/input/job")
        self.vectors.mkdir(parents=True)
        if documents is not None:
            self.documents.mkdir(parents=True)
            for name in documents:
                (self.documents / name).write_bytes(corpus.files[name])
        names = [f"algo-{number + 1}" for number in range(hosts)]
        self._config("resourceconfig", {"current_host": f"algo-{host}", "hosts": names})
        self._config("processingjobconfig", {"ProcessingJobName": JOB, "ProcessingJobArn": ARN})

    def _config(self, name: str, content: dict[str, Any]) -> None:
        path = self.ml / "config" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))

    @property
    def documents(self) -> Path:
        return self.ml / "processing/input/documents"

    @property
    def order(self) -> Path:
        return self.ml / "processing/input/job" / ORDER_FILE

    @property
    def manifests(self) -> list[Path]:
        return sorted((self.vectors / "_embed_job/manifests").glob("*.json"))

    def bring_manifests_of(self, other: Root) -> None:
        folder = self.ml / "processing/input/committed"
        folder.mkdir(parents=True)
        for manifest in other.manifests:
            shutil.copy(manifest, folder)

    def start(self, *before: str) -> subprocess.Popen[str]:
        """before: a command that the process is started by."""
        return subprocess.Popen(
            [*before, sys.executable, str(self.script)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | {"EMBED_JOB_ROOT": str(self.root)},
        )

    def run(self) -> Ended:
        return self.end(self.start())

    def end(self, process: subprocess.Popen[str]) -> Ended:
        output, errors = process.communicate(timeout=TIMEOUT_S)
        return Ended(self, process.returncode, output, errors)


class Ended:
    """What a container left behind. Every line of its output must be JSON."""

    def __init__(self, root: Root, code: int, output: str, errors: str) -> None:
        self.code = code
        self.errors = errors
        self.log: list[dict[str, Any]] = [json.loads(line) for line in output.splitlines()]
        message = root.ml / "output/message"
        self.message = message.read_text("utf-8") if message.is_file() else ""

    def __repr__(self) -> str:
        return f"exit {self.code}\n{self.message}\n{self.log}\n{self.errors}"

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.log if line["event"] == name]


def rows(*roots: Root) -> list[str]:
    """The documents in all parts that manifests of the roots' outputs name, a split once: the id of
    each first chunk."""
    parts: dict[str, list[Path]] = {}
    for root in roots:
        for path in root.manifests:
            manifest = SplitManifest.model_validate_json(path.read_bytes())
            found = [root.vectors / part.name for part in manifest.parts]
            parts.setdefault(manifest.split, [part for part in found if part.exists()])
    tables = [
        pq.read_table(part, columns=["doc_id", "chunk"])
        for files in parts.values()
        for part in files
    ]
    return [row["doc_id"] for table in tables for row in table.to_pylist() if not row["chunk"]]


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.02)


def stop(process: subprocess.Popen[str], number: signal.Signals) -> float:
    """Send a signal; seconds until the process is gone."""
    began = time.monotonic()
    os.kill(process.pid, number)
    process.wait(timeout=TIMEOUT_S)
    return time.monotonic() - began
