"""Outputs of two real models over one corpus, to be compared by a canary."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import yaml

from embed_job.errors import ExitCode
from embed_job.progress import SilentProgress
from embed_job.run import run_job
from embed_job.spec import JobSpec
from tests.opensearch import corpora

DIM = 16


@dataclass(frozen=True, slots=True)
class Output:
    """A folder as tests.opensearch.corpora has it, whose vectors an engine made."""

    folder: Path

    def spec(self, url: str, **options: Any) -> Path:
        """A spec of this output and an index; options: the OpenSearch output's."""
        path = corpora.spec_file(self.folder, url, **options)
        return _with_engine(path)

    @property
    def kept(self) -> Path:
        """Where the vectors of queries are kept."""
        return self.folder / "out/_embed_job/canary/queries.parquet"


def make(folder: Path, *, seed: int, rows: int = 60) -> Output:
    """The output of a model of random weights; another seed is another model."""
    folder.mkdir()
    corpora.write_corpus(folder, rows=rows, splits=2)
    corpora.make_bundle(folder, dim=DIM, seed=seed)
    output = Output(folder)
    plain = yaml.safe_load(output.spec("http://127.0.0.1:9", alias="none").read_text())
    spec = JobSpec.model_validate(plain | {"outputs": plain["outputs"][:1]})
    result = run_job(spec, progress=SilentProgress(), report_dir=folder / "report")
    assert result.exit_code is ExitCode.OK, result.report.problems
    return output


def write_queries(path: Path, *queries: dict[str, Any]) -> str:
    """A canary's file of queries; its path as a spec names it."""
    path.write_bytes(b"".join(orjson.dumps(query) + b"\n" for query in queries))
    return str(path)


def _with_engine(path: Path) -> Path:
    plain = yaml.safe_load(path.read_text())
    plain["model"]["engine"] = "onnx"
    own = path.with_name(f"{plain['outputs'][1]['opensearch']['alias']}.yaml")
    own.write_text(yaml.safe_dump(plain))
    return own
