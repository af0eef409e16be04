"""A later run takes over rows and vectors from parts that lie in S3."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from embed_job.dataset.verify import verify_output
from embed_job.progress import choose_progress
from embed_job.run import run_job
from embed_job.spec import ExecutionSpec, InputSpec, JobSpec, ModelSpec, Output, ParquetOutput
from embed_job.storage import store_for
from tests.functional.conftest import sentence


def corpus(store_uri: str, texts: list[str]) -> None:
    lines = [json.dumps({"id": str(n), "text": text}) for n, text in enumerate(texts)]
    store_for(store_uri).replace(f"{store_uri}/in/a.jsonl", "\n".join(lines).encode())


@pytest.mark.parametrize("damaged", [False, True])
def test_a_later_run_on_s3(
    s3_bucket: str, tiny_bundle: Path, tmp_path: Path, damaged: bool
) -> None:
    uri = f"s3://{s3_bucket}"
    spec = JobSpec(
        name="again",
        input=InputSpec(uri=f"{uri}/in"),
        model=ModelSpec(bundle=tiny_bundle),
        outputs=(Output(parquet=ParquetOutput(uri=f"{uri}/out")),),
        execution=ExecutionSpec(workers=1),
    )
    texts = [sentence(n) for n in range(20)]
    quiet = choose_progress(sys.stderr, quiet=True)
    corpus(uri, texts)
    assert run_job(spec, progress=quiet, report_dir=tmp_path).report.ok
    store = store_for(uri)
    if damaged:
        (part,) = [file.key for file in store.list(f"{uri}/out") if "/part-" in file.key]
        data = bytearray(store.read(part))
        data[200] ^= 0xFF
        store.replace(part, bytes(data))
    texts[3] = sentence(99)
    texts.append(texts[4])
    corpus(uri, texts)
    report = run_job(spec, progress=quiet, report_dir=tmp_path).report
    assert report.ok
    found = report.resumed
    taken = (found.documents_carried, found.chunks_reused, found.chunks_embedded)
    # Repeats within a window go through the model once.
    assert taken == ((0, 0, 20) if damaged else (19, 1, 1))
    assert any("is damaged" in warning for warning in report.warnings) == damaged
    assert verify_output(store, f"{uri}/out").ok
