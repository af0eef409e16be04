"""An index loaded from an output, to be examined, damaged and searched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from opensearchpy import OpenSearch

from embed_job.cli import app
from embed_job.cli.program import run_program
from embed_job.dataset import Dataset, open_dataset
from embed_job.errors import ExitCode
from embed_job.opensearch.load.committed import load_committed
from embed_job.opensearch.load.opening import Writer
from embed_job.opensearch.target import IndexTarget
from embed_job.progress import SilentProgress
from embed_job.spec import JobSpec
from embed_job.storage import store_for


@dataclass(frozen=True, slots=True)
class Loaded:
    """A finished index, and what it was loaded from."""

    client: OpenSearch
    spec: JobSpec
    target: IndexTarget
    dataset: Dataset

    @property
    def name(self) -> str:
        return self.target.name

    def document(self, row_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(index=self.name, id=row_id)["_source"]
        return found

    def write(self, row_id: str, document: dict[str, Any]) -> None:
        """Put a document behind everybody's back, over what is there."""
        self.client.index(index=self.name, id=row_id, body=document)

    def change(self, row_id: str, change: Callable[[dict[str, Any]], object]) -> None:
        """Write a document anew with something changed in it."""
        document = self.document(row_id)
        change(document)
        self.write(row_id, document)

    def settings(self, **changes: Any) -> None:
        """Set `index.` settings; double underscores stand for dots."""
        body = {f"index.{name.replace('__', '.')}": value for name, value in changes.items()}
        self.client.indices.put_settings(index=self.name, body=body)


def load(client: OpenSearch, spec: JobSpec) -> Loaded:
    """Load and finish the spec's index from its output, which is there already."""
    folder = spec.parquet.uri
    dataset = open_dataset(store_for(folder), folder)
    result = load_committed(
        spec,
        dataset,
        Writer.alone("here"),
        progress=SilentProgress(),
        stopping=lambda: False,
    )
    assert result.exit_code is ExitCode.OK, result.problems
    assert spec.opensearch is not None
    return Loaded(client, spec, IndexTarget(spec.opensearch, dataset.descriptor), dataset)


def embed_job(*arguments: str | Path) -> int:
    """The exit code of a command of the engine."""
    return run_program(app, [str(argument) for argument in arguments], name="embed-job")


def printed(capfdbinary: Any) -> Any:
    """What a command has printed with --json."""
    return orjson.loads(capfdbinary.readouterr().out)
