"""One simulated world: the truth, AWS, OpenSearch, the program, and the checks after each day."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tests.simulation.aws import Aws
from tests.simulation.corpus import Corpus
from tests.simulation.expected import MAX_TOKENS, OVERLAP_TOKENS, Cutting, Known, Row
from tests.simulation.index import Index
from tests.simulation.output import BUCKET, Output, Vector
from tests.simulation.program import Ended, Program

INPUT = "docs/"
KEEP_GENERATIONS = 2
SPLIT_MIB = 0.02
"""So small that a file is several splits, and a change at its beginning moves all their bounds."""


@dataclass(slots=True)
class Pipeline:
    """A spec, its output, and what the simulation knows of it. counted: splits whose forward
    passes were accounted for; rows: what its index must hold; vectors: of each text, by its content
    hash, as it was first embedded."""

    spec: Path
    output: Output
    known: Known
    counted: set[tuple[str, str]] = field(default_factory=set)
    rows: dict[str, Row] = field(default_factory=dict)
    vectors: dict[str, Vector] = field(default_factory=dict)


@dataclass(slots=True)
class World:
    """All of it. notes: what happened today, to be printed; live: which pipeline runs nightly."""

    folder: Path
    aws: Aws
    corpus: Corpus
    cutting: Cutting
    index: Index
    program: Program
    url: str
    notes: list[str] = field(default_factory=list)
    pipelines: dict[str, Pipeline] = field(default_factory=dict)
    live: str = "fp32"

    @property
    def current(self) -> Pipeline:
        """What runs each night."""
        return self.pipelines[self.live]

    def pipeline(self, name: str, *, max_tokens: int = MAX_TOKENS, **model: Any) -> Pipeline:
        """A job over the corpus: a spec's file, and an output of its own."""
        output = Output(self.aws.s3, f"vectors/{name}/")
        index = {"url": self.url, "alias": self.index.alias, "replicas": 0}
        canary = {"queries": str(self.folder / "queries.jsonl")}
        said = {
            "name": "docs",
            "input": {
                "uri": f"s3://{BUCKET}/{INPUT}",
                "fields": {"text": "text", "metadata": {"module": "string", "revision": "int64"}},
                "split_mib": SPLIT_MIB,
            },
            "chunk": {"max_tokens": max_tokens, "overlap_tokens": OVERLAP_TOKENS},
            "model": model,
            "outputs": [
                {"parquet": {"uri": output.uri}},
                {
                    "opensearch": index
                    | {"graph": {"engine": "lucene"}, "gates": {"canary": canary}}
                },
            ],
            "refresh": {"keep_generations": KEEP_GENERATIONS},
            "execution": {"workers": 1},
        }
        spec = self.folder / f"{name}.yaml"
        spec.write_text(yaml.safe_dump(said))
        return Pipeline(spec, output, Known(keep_generations=KEEP_GENERATIONS))

    def publish(self) -> None:
        """Make the input in S3 what the corpus is; a file with the same bytes keeps its version."""
        s3 = self.aws.s3
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=INPUT)
        there = {
            entry["Key"].removeprefix(INPUT): entry["ETag"]
            for page in pages
            for entry in page.get("Contents", [])
        }
        for file in self.corpus.files:
            s3.put_object(Bucket=BUCKET, Key=f"{INPUT}{file}", Body=self.corpus.bytes_of(file))
        for file in there.keys() - self.corpus.files.keys():
            s3.delete_object(Bucket=BUCKET, Key=f"{INPUT}{file}")

    def expected(self) -> dict[str, Row]:
        """What output and index must be once a run over the published corpus has ended."""
        return self.cutting.rows(self.corpus.docs.values())

    @contextmanager
    def nothing_amiss(self, pipeline: Pipeline) -> Iterator[None]:
        """Inside, no row of the corpus before and after is ever missing in the live index."""
        lasting = pipeline.rows.keys() & self.expected().keys()
        with self.index.watching(lasting) as missed:
            yield
        assert not missed.missing, f"gone though they exist: {sorted(missed.missing)[:5]}"

    def night(
        self, pipeline: Pipeline, *more: str, clock_shift_s: float = 0, overtaken: int = 0
    ) -> Ended:
        """A run that must succeed, and all checks after it. overtaken: as of settle."""
        with self.nothing_amiss(pipeline):
            done = self.program.run(*self.run_command(pipeline), *more, clock_shift_s=clock_shift_s)
        assert done.code == 0, done.told
        self.settle(pipeline, overtaken=overtaken)
        return done

    def run_command(self, pipeline: Pipeline) -> list[str | Path]:
        report = self.folder / "report" / pipeline.spec.stem
        return ["run", pipeline.spec, "--report", report, "--quiet"]

    def settle(self, pipeline: Pipeline, *, overtaken: int = 0) -> None:
        """After a run that was a success: output and index are the corpus, exactly, each text has
        the vector that it had at first, and what went through the model is what no kept generation
        held. overtaken: texts that a run embedded over an older corpus, before this one took over:
        some of them may be gone since."""
        expected = self.expected()
        same(pipeline.output.rows(), expected, "the output's folder")
        same(self.index.rows(self.index_of(pipeline)), expected, "the index")
        for row, vector in pipeline.output.vectors().items():
            first = pipeline.vectors.setdefault(expected[row].content_hash, vector)
            assert np.allclose(vector, first, atol=1e-5), f"{row} has the vector of another text"
        fresh, embedded = self.embedded_since(pipeline)
        new = pipeline.known.new_among(expected)
        assert new <= embedded <= new + overtaken, f"{embedded} forward passes, {new} new texts"
        self.notes.append(f"{embedded} of {len(expected)} chunks embedded")
        pipeline.counted |= fresh
        pipeline.known.commit(expected, files=self.corpus.versions())
        pipeline.rows = expected

    def embedded_since(self, pipeline: Pipeline) -> tuple[set[tuple[str, str]], int]:
        """What was committed since the last checks, and how many texts were embedded for it."""
        committed = pipeline.output.committed()
        fresh = committed.keys() - pipeline.counted
        return fresh, sum(committed[split]["counts"]["embedded_chunks"] for split in fresh)

    def index_of(self, pipeline: Pipeline) -> str:
        """The name of the index that the pipeline fills, as its manifests' fingerprint has it."""
        fingerprint = next(iter(pipeline.output.committed().values()))["fingerprint"]
        (name,) = [name for name in self.index.names() if fingerprint[:10] in name]
        return name

    def unchanged(self, pipeline: Pipeline, *, generation: int) -> None:
        """After a run that was refused: nothing was deleted, and no job was committed."""
        same(self.index.rows(self.index_of(pipeline)), pipeline.rows, "the index")
        assert pipeline.output.generation() == generation


def same(found: dict[str, Row], expected: dict[str, Row], what: str) -> None:
    """Fail, with examples, where rows are missing, too many or different."""
    missing, more = expected.keys() - found.keys(), found.keys() - expected.keys()
    other = [row for row in found.keys() & expected.keys() if found[row] != expected[row]]
    wrong = {"missing": missing, "too many": more, "different": other}
    told = {why: sorted(rows)[:5] for why, rows in wrong.items() if rows}
    assert not told, f"{what} is not the corpus: {told}"
