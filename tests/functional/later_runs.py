"""Runs of a changing corpus in this process, each beside a full run of the same input."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from embed_job.commit.commits import encode_record
from embed_job.dataset import Dataset, vectors_of
from embed_job.job import Toolbox, embed_split
from embed_job.manifest import JobManifest, SplitCounts, SplitManifest, total
from embed_job.plan import Plan, make_plan
from embed_job.reuse.build import build_lookup
from embed_job.reuse.earlier import Earlier
from embed_job.reuse.splits import earlier_splits, truncates_at
from embed_job.spec import JobSpec
from embed_job.workers.messages import WorkerConfig
from embed_job.workers.toolbox import load_toolbox

Files = dict[str, list[dict[str, Any]]]
Row = tuple[Any, ...]


class LaterRuns:
    """One output that is run into again and again, over whatever the corpus is by then."""

    def __init__(self, folder: Path, bundle: Path, **spec: Any) -> None:
        self.folder = folder
        self.input = folder / "in"
        self.output = folder / "out"
        self.input.mkdir(parents=True)
        self._tools: Toolbox | None = None
        self._runs = 0
        self.plan: Plan | None = None
        self.without: tuple[str, ...] = ()
        self._spec: dict[str, Any] = {
            "name": "later",
            "model": {"bundle": str(bundle), "engine": "null"},
            **spec,
        }

    def write(self, files: Files) -> None:
        """The whole corpus, as it is from now on."""
        for path in self.input.iterdir():
            path.unlink()
        for name, documents in files.items():
            lines = [orjson.dumps(document) + b"\n" for document in documents]
            (self.input / name).write_bytes(b"".join(lines))

    def run(self) -> SplitCounts:
        """Embed what is not committed yet; the counts of that."""
        self._runs += 1
        plan = make_plan(self._spec_of(self.output))
        splits = earlier_splits(plan)
        tables = None
        if splits:
            tables = self.folder / f"earlier-{self._runs}"
            at = truncates_at(plan.spec, plan.dataset.max_tokens)
            self.without = build_lookup(tables, plan.target, splits, truncates_at=at).without
        self.plan = plan
        counts = total(manifest.counts for manifest in self._embed(plan, tables))
        self._end_job(plan)
        return counts

    def _end_job(self, plan: Plan) -> None:
        """What a run leaves at its end, without the rest of it: nothing is retired."""
        job = JobManifest(
            name=plan.spec.name,
            fingerprint=plan.dataset.fingerprint,
            splits=plan.planned,
            counts=total(manifest.counts for manifest in live_of(plan)),
            duplicates_across_splits=0,
            finished_at=0.0,
        )
        plan.target.replace(plan.commits.key("job.json"), encode_record(job))

    def full(self) -> tuple[list[Row], list[SplitManifest]]:
        """The rows of a first run over the input as it is, and its manifests."""
        plan = make_plan(self._spec_of(self.folder / f"full-{self._runs}"))
        self._embed(plan, None)
        return rows_of(plan), live_of(plan)

    def rows(self) -> list[Row]:
        """The output's, of the input as it is."""
        assert self.plan
        return rows_of(self.plan)

    def live(self) -> list[SplitManifest]:
        """The manifests of the input as it is."""
        assert self.plan
        return live_of(self.plan)

    def contents(self) -> dict[str, frozenset[str]]:
        """The content hashes of every committed split, those of former inputs included."""
        assert self.plan
        found = self.plan.commits.committed(self.plan.dataset.fingerprint)
        folder, dataset = self.plan.commits.folder, self.plan.dataset
        opened = Dataset(self.plan.target, folder, dataset, tuple(found.values()), complete=True)
        return {
            split: frozenset(
                content
                for batch in opened.split_rows(manifest, columns=["content_hash"])
                for content in batch.column("content_hash").to_pylist()
            )
            for split, manifest in found.items()
        }

    def _spec_of(self, output: Path) -> JobSpec:
        given = dict(self._spec)
        given["input"] = {"fields": {"metadata": {"tag": "string"}}} | given.get("input", {})
        given["input"]["uri"] = str(self.input)
        given["outputs"] = [{"parquet": given.pop("parquet", {}) | {"uri": str(output)}}]
        return JobSpec.model_validate(given)

    def _embed(self, plan: Plan, tables: Path | None) -> Sequence[SplitManifest]:
        spool = self.folder / "spool"
        spool.mkdir(exist_ok=True)
        if self._tools is None:
            self._tools = load_toolbox(
                WorkerConfig(0, plan.spec, plan.dataset, plan.spec.input.uri, str(spool), "here")
            )
        tools = replace(self._tools, spec=plan.spec, target=plan.target, commits=plan.commits)
        if tables:
            tools = replace(tools, earlier=Earlier(tables, plan.target, tools.schema))
        made = [
            embed_split(split, tools, exclude={}, report=lambda _: None)
            for identity, split in plan.splits.items()
            if identity not in plan.committed
        ]
        assert not list(spool.iterdir())
        return [manifest for manifest in made if manifest]


def live_of(plan: Plan) -> list[SplitManifest]:
    """The committed manifests of a plan's splits."""
    committed = plan.commits.committed(plan.dataset.fingerprint)
    return [committed[split] for split in plan.planned]


def rows_of(plan: Plan) -> list[Row]:
    """Every row of a plan's splits, sorted, but for the split that wrote it first; vectors as
    bytes. Checks the manifests' origins on the way."""
    live = live_of(plan)
    dataset = Dataset(plan.target, plan.commits.folder, plan.dataset, tuple(live), complete=True)
    rows: list[Row] = []
    for manifest in live:
        origins: defaultdict[str, int] = defaultdict(int)
        for batch in dataset.split_rows(manifest):
            vectors = np.ascontiguousarray(vectors_of(batch))
            plain = batch.drop_columns(["vector", "split"]).to_pylist()
            rows += [
                (*map(repr, row.values()), vector.tobytes())
                for row, vector in zip(plain, vectors, strict=True)
            ]
            for origin in batch.column("split").to_pylist():
                origins[origin] += 1
        assert dict(origins) == manifest.origins
    return sorted(rows)
