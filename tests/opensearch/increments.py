"""A corpus that changes, and an index that has to follow it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from opensearchpy import OpenSearch

from embed_job.dataset import open_dataset
from embed_job.errors import ExitCode
from embed_job.opensearch.load.committed import load_committed
from embed_job.opensearch.load.load import LoadResult
from embed_job.opensearch.load.opening import Writer, open_load
from embed_job.opensearch.load.redrive import Redriven, redrive
from embed_job.progress import SilentProgress
from embed_job.report.model import IndexReport
from embed_job.run import run_job
from embed_job.storage import store_for
from tests.opensearch import corpora
from tests.opensearch.proxy import Proxy

Document = dict[str, Any]
SMALL_BULKS = {"max_mib": 0.01, "timeout_s": 10, "deadline_s": 5}


@dataclass(slots=True)
class Corpus:
    """Files of documents. Only what changes is written, so that other files stay as they are."""

    folder: Path
    files: list[dict[str, Document]] = field(default_factory=list)
    _next: int = 0

    @classmethod
    def of(cls, folder: Path, *, files: int, documents: int) -> Corpus:
        """So many files of so many documents each, with a bundle beside them."""
        corpora.make_bundle(folder, dim=8)
        corpus = cls(folder)
        for number in range(files):
            corpus.files.append({})
            for _ in range(documents):
                corpus.add(number)
        return corpus

    def add(self, file: int, *, text: str | None = None) -> str:
        """A new document, with a text that no other has unless one is given; its id."""
        document = corpora.document(self._next)
        self._next += 1
        self.put(file, document | ({} if text is None else {"text": text}))
        return str(document["id"])

    def put(self, file: int, document: Document) -> None:
        self.files[file][document["id"]] = document
        self._write(file)

    def edit(self, file: int, row: str, **changes: Any) -> None:
        self.put(file, self.files[file][row] | changes)

    def delete(self, file: int, row: str) -> Document:
        document = self.files[file].pop(row)
        self._write(file)
        return document

    def move(self, file: int, row: str, to: int) -> None:
        self.put(to, self.delete(file, row))

    def _write(self, file: int) -> None:
        corpora.write_split(self.folder, file, self.files[file].values())

    def change(self, rng: random.Random, edition: str) -> None:
        """A few random changes, as a day brings them."""
        for number in range(rng.randint(1, 6)):
            file = rng.randrange(len(self.files))
            rows = list(self.files[file])
            row = rng.choice(rows)
            kind = rng.choice(["add", "edit", "long", "short", "pages", "delete", "move"])
            if kind == "add":
                self.add(file)
            elif kind == "delete" and len(rows) > 3:
                self.delete(file, row)
            elif kind == "move" and len(rows) > 3:
                self.move(file, row, (file + 1) % len(self.files))
            elif kind == "pages":
                self.edit(file, row, pages=rng.randrange(1000))
            else:
                words = {"long": 400, "short": 3}.get(kind, 20)
                self.edit(file, row, text=f"{edition}{number} " + "the lazy dog " * words)


@dataclass(slots=True)
class Follower:
    """An index of a corpus, reached through a proxy. options: of the OpenSearch output."""

    corpus: Corpus
    proxy: Proxy
    client: OpenSearch
    index: str
    options: dict[str, Any] = field(default_factory=dict)

    def spec(self) -> Any:
        options = {"index": self.index, "bulk": SMALL_BULKS, "refresh": {"max_delete_fraction": 1}}
        return corpora.spec_for(self.corpus.folder, self.proxy.url, **(options | self.options))

    def embed(self) -> None:
        """Commit the corpus as it is; the index learns nothing of it."""
        corpora.embed(self.corpus.folder)

    def run(self) -> None:
        """Commit the corpus, and load while it is embedded."""
        result = run_job(
            self.spec(), progress=SilentProgress(), report_dir=self.corpus.folder / "report"
        )
        assert result.exit_code is ExitCode.OK, result.report.problems

    def load_anyhow(self) -> LoadResult:
        folder = str(self.corpus.folder / "out")
        dataset = open_dataset(store_for(folder), folder)
        return load_committed(
            self.spec(),
            dataset,
            Writer.alone("here"),
            progress=SilentProgress(),
            stopping=lambda: False,
        )

    def load(self) -> IndexReport:
        """A load that must succeed."""
        result = self.load_anyhow()
        assert result.exit_code is ExitCode.OK, result.problems
        assert result.report is not None
        return result.report

    def redrive(self) -> Redriven:
        folder = str(self.corpus.folder / "out")
        dataset = open_dataset(store_for(folder), folder)
        load = open_load(self.spec(), dataset, Writer.alone("here"), create=False)
        with closing(load.client):
            return redrive(load, dataset.splits, stopping=lambda: False)

    def sent(self) -> list[str]:
        """The ids that were sent since the last call, sorted; deleted ones begin with a minus."""
        operations = [one for seen in self.proxy.bulks() for one in seen.request.operations()]
        self.proxy.seen.clear()
        return sorted(f"{'-' if one.verb == 'delete' else ''}{one.id}" for one in operations)

    def origins(self) -> dict[str, str]:
        """The origin of each row of the output, by the row's id."""
        return {row["id"]: row["split"] for row in corpora.rows_of(self.corpus.folder / "out")}

    def assert_true(self) -> None:
        """Index, output and corpus agree: ids, every field, every number of the vectors."""
        found = dict(self._documents())
        rows = {row.pop("id"): row for row in corpora.rows_of(self.corpus.folder / "out")}
        assert found.keys() == rows.keys()
        for row, wanted in rows.items():
            vector = np.float32(found[row].pop("vector"))
            assert np.array_equal(vector, np.float32(wanted.pop("vector"))), row
            assert found[row] == {name: _plain(value) for name, value in wanted.items()}, row
        given = {row for file in self.corpus.files for row in file}
        assert {wanted["doc_id"] for wanted in rows.values()} == given

    def _documents(self) -> Iterator[tuple[str, Document]]:
        self.client.indices.refresh(index=self.index)
        hits = self.client.search(index=self.index, body={"size": 5000})["hits"]
        assert hits["total"]["value"] == len(hits["hits"])
        for hit in hits["hits"]:
            yield hit["_id"], hit["_source"]


def _plain(value: object) -> object:
    """A value of Parquet as JSON has it."""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return value
