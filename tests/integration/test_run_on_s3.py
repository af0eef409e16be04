"""A whole run whose input and output are in S3; the workers are processes of their own."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import pytest

from embed_job.commit.commits import Commits
from embed_job.dataset import open_dataset
from embed_job.dataset.verify import verify_output
from embed_job.errors import ExitCode, InputError
from embed_job.progress import choose_progress
from embed_job.run import RunResult, run_job
from embed_job.source import Split
from embed_job.source.listing import list_input
from embed_job.source.plan import plan_splits
from embed_job.source.reader import SplitReader
from embed_job.spec import (
    ExecutionSpec,
    InputSpec,
    JobSpec,
    ModelSpec,
    Output,
    ParquetOutput,
    RefreshSpec,
)
from embed_job.storage import Store, store_for


@pytest.fixture
def spec(s3_bucket: str, tiny_bundle: Path) -> JobSpec:
    """40 documents in two objects, one below the other's folder."""
    store = store_for(f"s3://{s3_bucket}")
    for half, name in enumerate(["a.jsonl", "deep/b.jsonl"]):
        lines = [
            json.dumps({"id": f"{half}-{number}", "text": f"how do I read file {number}"})
            for number in range(20)
        ]
        store.replace(f"s3://{s3_bucket}/in/{name}", "\n".join(lines).encode())
    store.replace(f"s3://{s3_bucket}/in2/no.jsonl", b'{"id": "no", "text": "a sibling"}\n')
    return JobSpec(
        name="on-s3",
        input=InputSpec(uri=f"s3://{s3_bucket}/in"),
        model=ModelSpec(bundle=tiny_bundle),
        outputs=(Output(parquet=ParquetOutput(uri=f"s3://{s3_bucket}/out/")),),
        execution=ExecutionSpec(workers=1),
    )


def run(spec: JobSpec, report: Path) -> RunResult:
    return run_job(spec, progress=choose_progress(sys.stderr, quiet=True), report_dir=report)


def read_all(store: Store, splits: list[Split], spec: InputSpec) -> None:
    for split in splits:
        list(SplitReader(store, split, spec, {}))


def etags(store: Store, uri: str) -> list[tuple[str, str | None]]:
    """Of every object but those that each run changes: the job manifest and the lease."""
    changed = ("/job.json", "/lease.json")
    return [(file.key, file.etag) for file in store.list(uri) if not file.key.endswith(changed)]


def test_a_run_and_a_second_that_finds_its_work_done(spec: JobSpec, tmp_path: Path) -> None:
    uri = spec.parquet.uri
    store = store_for(uri)
    assert run(spec, tmp_path).exit_code == ExitCode.OK
    checks = verify_output(store, uri)
    assert checks.ok, checks
    rows = {
        (row["doc_id"], row["char_end"])
        for batch in open_dataset(store, uri).iter_rows()
        for row in batch.to_pylist()
    }
    assert {doc_id for doc_id, _ in rows} == {f"{h}-{n}" for h in range(2) for n in range(20)}
    before = etags(store, uri)
    again = run(spec, tmp_path)
    assert again.exit_code == ExitCode.OK
    assert again.report.resumed.splits_embedded == 0
    assert etags(store, uri) == before


def test_what_a_later_generation_replaces_is_put_aside_in_s3(spec: JobSpec, tmp_path: Path) -> None:
    uri, source = spec.parquet.uri, spec.input.uri
    store = store_for(uri)
    assert run(spec, tmp_path).exit_code == ExitCode.OK
    old = Commits(store, uri).job()
    lines = store.read(f"{source}/a.jsonl").splitlines(keepends=True)
    store.replace(f"{source}/a.jsonl", b"".join(lines[2:]))
    refused = run(spec, tmp_path)
    assert refused.exit_code == ExitCode.INCOMPLETE
    assert "2 of the 40 documents" in refused.report.problems[0]
    assert Commits(store, uri).job() == old
    allowed = spec.model_copy(update={"refresh": RefreshSpec(max_delete_fraction=0.05)})
    ended = run(allowed, tmp_path)
    assert ended.exit_code == ExitCode.OK
    assert ended.report.resumed.splits_embedded == 0
    ((folder, manifest),) = Commits(store, uri).retired()
    assert manifest.source.files[0][0] == "a.jsonl"
    assert manifest.ledger is not None
    assert store.stat(f"{folder}/{manifest.ledger}").size > 0
    assert open_dataset(store, uri).rows == 38
    assert verify_output(store, uri).ok


def test_an_input_that_is_not_there(spec: JobSpec, tmp_path: Path) -> None:
    missing = spec.input.model_copy(update={"uri": f"{spec.input.uri}-not"})
    with pytest.raises(InputError, match="in-not"):
        run(spec.model_copy(update={"input": missing}), tmp_path)


@pytest.mark.parametrize("ending", ["txt", "txt.gz", "jsonl", "csv"])
def test_an_object_replaced_by_one_of_its_size_stops_the_run(s3_bucket: str, ending: str) -> None:
    def content(word: bytes) -> bytes:
        data = {"jsonl": b'{"id": "a", "text": "%s"}\n', "csv": b"id,text\na,%s\n"}.get(
            ending, b"the text %s"
        )
        return gzip.compress(data % word, mtime=0) if ending.endswith("gz") else data % word

    uri = f"s3://{s3_bucket}/replaced/{ending}/"
    store, spec = store_for(uri), InputSpec(uri=uri)
    for name in "ab":
        store.replace(f"{uri}{name}.{ending}", content(b"one"))
    splits = plan_splits(store, list_input(store, uri).files, spec)
    assert len(content(b"one")) == len(content(b"two"))
    store.replace(f"{uri}b.{ending}", content(b"two"))
    with pytest.raises(InputError, match="changed while the run was reading it"):
        read_all(store, splits, spec)
