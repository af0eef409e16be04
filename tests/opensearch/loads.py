"""Loads as users start them, and what an index must be after each, whatever went wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
from opensearchpy import OpenSearch

from embed_job.dataset import Dataset, open_dataset
from embed_job.storage import store_for
from tests.opensearch import corpora

Documents = dict[str, dict[str, Any]]
_ITS_OWN = {"index.uuid", "index.creation_date", "index.provided_name"}
_PAGE = 5000
SMALL_BULKS = {"max_mib": 0.02, "timeout_s": 10, "deadline_s": 30}
"""Some forty of the corpora's rows a request, so that a load has many."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that has ended. told: what it printed, on both streams."""

    code: int
    output: str
    errors: str

    @property
    def told(self) -> str:
        return self.output + self.errors


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """An index that was loaded with nothing going wrong."""

    documents: Documents = field(repr=False)
    settings: dict[str, Any]
    meta: dict[str, Any]


@dataclass(slots=True)
class Load:
    """An output and the index it is loaded into. client: of the server itself, past any proxy.

    folder: of the corpus, as tests.opensearch.corpora has it; options: of the OpenSearch output;
    clock_shift_s: how much later than it is the loader's clock says it is.
    """

    folder: Path
    url: str
    client: OpenSearch
    index: str
    options: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    clock_shift_s: float = 0

    def spec(self) -> Path:
        """The job's spec, in a file of this index's own."""
        path = corpora.spec_file(self.folder, self.url, **{"index": self.index, **self.options})
        own = path.with_name(f"{self.index}.yaml")
        return path.rename(own)

    def start(self, command: str = "load", *arguments: str) -> subprocess.Popen[str]:
        """The command as a process of its own, in a process group of its own."""
        return subprocess.Popen(
            [*self._program(), command, str(self.spec()), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "COLUMNS": "200", **self.environment},
        )

    def _program(self) -> list[str]:
        if self.clock_shift_s:
            shifted = Path(__file__).with_name("shifted_clock.py")
            return [sys.executable, str(shifted), str(self.clock_shift_s)]
        return [sys.executable, "-m", "launcher.cli"]

    def run(self, *arguments: str, command: str = "load") -> Ended:
        return ended(self.start(command, *arguments))

    def load(self) -> None:
        """A load that must succeed."""
        done = self.run()
        assert done.code == 0, done.told

    def documents(self) -> Documents:
        """Whole documents by id, each seen once."""
        self.client.indices.refresh(index=self.index)
        found: Documents = {}
        after: list[Any] | None = None
        while True:
            body: dict[str, Any] = {"size": _PAGE, "sort": [{"doc_id": "asc"}, {"chunk": "asc"}]}
            body |= {"search_after": after} if after else {}
            hits = self.client.search(index=self.index, body=body)["hits"]["hits"]
            if not hits:
                return found
            for hit in hits:
                assert hit["_id"] not in found, f"{hit['_id']} twice"
                found[hit["_id"]] = hit["_source"]
            after = hits[-1]["sort"]

    def settings(self) -> dict[str, Any]:
        """Flat, without what only this index can have."""
        answer = self.client.indices.get_settings(index=self.index, flat_settings="true")
        settings = answer[self.index]["settings"]
        return {name: value for name, value in settings.items() if name not in _ITS_OWN}

    def meta(self) -> dict[str, Any]:
        """What the index says of itself, without its nonce."""
        answer = self.client.indices.get_mapping(index=self.index)
        meta = dict(answer[self.index]["mappings"]["_meta"]["embed_job"])
        del meta["load"]
        return meta

    def state(self) -> Undisturbed:
        """The index as it is, to be compared with later."""
        return Undisturbed(self.documents(), self.settings(), self.meta())

    def ledger(self) -> Path:
        """The folder of this index's receipts."""
        answer = self.client.indices.get_mapping(index=self.index)
        nonce = answer[self.index]["mappings"]["_meta"]["embed_job"]["load"]
        return self.folder / f"out/_embed_job/loads/{self.index}-{nonce}"

    def receipts(self) -> list[dict[str, Any]]:
        paths = sorted((self.ledger() / "receipts").glob("*.json"))
        return [orjson.loads(path.read_bytes()) for path in paths]

    def dataset(self) -> Dataset:
        return open_dataset(store_for(str(self.folder)), str(self.folder / "out"))

    def rows_with_receipt(self) -> set[str]:
        """Ids of the rows of every origin that counts as delivered."""
        delivered = {receipt["origin"] for receipt in self.receipts()}
        return {
            row
            for batch in self.dataset().iter_rows(columns=["id", "split"])
            for row, origin in zip(*map(pa.Array.to_pylist, batch.columns), strict=True)
            if origin in delivered
        }

    def letters(self) -> list[dict[str, Any]]:
        """The dead letters that receipts name."""
        named = [receipt["dead_letters"] for receipt in self.receipts()]
        files = [self.ledger() / name for name in named if name]
        return [orjson.loads(line) for path in files for line in path.read_bytes().splitlines()]

    def assert_whole(self, calm: Undisturbed, *, refused: Collection[str] = ()) -> None:
        """The index is what an undisturbed load would have made, but for the refused rows.

        Every id is there once, each document equals the undisturbed one in all its fields; per
        origin and in all, rows read = written + rejected; what was refused is a dead letter; no
        setting of the load is left on.
        """
        expected = {row: source for row, source in calm.documents.items() if row not in refused}
        found = self.documents()
        assert found.keys() == expected.keys()
        assert self.client.count(index=self.index)["count"] == len(expected)
        different = [row for row in expected if found[row] != expected[row]]
        assert not different, f"other content: {different[:5]}"
        assert self.settings() == calm.settings
        assert self.meta() == calm.meta
        self._assert_identity(refused)

    def _assert_identity(self, refused: Collection[str]) -> None:
        rows: Counter[str] = Counter()
        for manifest in self.dataset().splits:
            rows.update(manifest.origins)
        counts = {receipt["origin"]: receipt["counts"] for receipt in self.receipts()}
        assert {origin: count["read"] for origin, count in counts.items()} == dict(rows)
        for count in counts.values():
            assert count["read"] == count["written"] + count["rejected"]
            assert count["skipped"] == 0
        assert sum(count["rejected"] for count in counts.values()) == len(refused)
        assert sorted(letter["id"] for letter in self.letters()) == sorted(refused)


def ended(process: subprocess.Popen[str], *, timeout_s: float = 120) -> Ended:
    """What a process came to."""
    try:
        output, errors = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        output, errors = process.communicate()
        raise AssertionError(f"still at work after {timeout_s:.0f} s: {output}{errors}") from None
    return Ended(process.returncode, output, errors)


def kill(process: subprocess.Popen[str]) -> None:
    """SIGKILL for it and all its children."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)


def wait_until(condition: Any, *, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)
