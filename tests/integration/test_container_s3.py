"""Containers that write straight to S3: several hosts of one job, stopped and submitted again."""

from __future__ import annotations

import signal
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pytest

from embed_job.dataset import open_dataset
from embed_job.errors import ExitCode
from embed_job.storage import store_for

HOSTS = 3


@pytest.fixture
def corpus(containers: ModuleType, tiny_bundle: Path, s3_bucket: str) -> Any:
    found = containers.Corpus(tiny_bundle, delivery="direct")
    found.spec["input"]["uri"] = f"s3://{s3_bucket}/in/"
    found.spec["outputs"] = [{"parquet": {"uri": f"s3://{s3_bucket}/out/"}}]
    found.spec["execution"] = {"workers": 1}
    return found


def upload(corpus: Any, bucket: str) -> None:
    """The corpus to S3; the listing then holds S3's ETags."""
    client = boto3.client("s3")
    for name, data in corpus.files.items():
        answer = client.put_object(Bucket=bucket, Key=f"in/{name}", Body=data)
        corpus.etags[name] = answer["ETag"].strip('"')


def start(containers: ModuleType, corpus: Any, folder: Path, *, hosts: int) -> list[Any]:
    """All hosts of one job at once, as (root, process)."""
    names = sorted(corpus.files)
    balanced = corpus.spec["compute"].get("sharing") == "balanced"
    roots = [
        containers.Root(
            folder / str(host),
            corpus,
            host=host + 1,
            hosts=hosts,
            documents=None if balanced else names[host::hosts],
        )
        for host in range(hosts)
    ]
    return [(root, root.start()) for root in roots]


def ids(bucket: str) -> list[str]:
    uri = f"s3://{bucket}/out"
    dataset = open_dataset(store_for(uri), uri)
    batches = dataset.iter_rows(columns=["doc_id", "chunk"])
    return [row["doc_id"] for batch in batches for row in batch.to_pylist() if not row["chunk"]]


@pytest.mark.parametrize("sharing", ["sharded_by_s3_key", "balanced"])
def test_hosts_of_one_job_end_it_together(
    containers: ModuleType, corpus: Any, s3_bucket: str, tmp_path: Path, sharing: str
) -> None:
    corpus.spec["compute"]["sharing"] = sharing
    corpus.add(files=7, documents=100)
    upload(corpus, s3_bucket)
    ended = [
        root.end(process) for root, process in start(containers, corpus, tmp_path, hosts=HOSTS)
    ]
    assert [one.code for one in ended] == [ExitCode.OK] * HOSTS, str(ended)
    assert sum("job finalized" in one.message for one in ended) == 1
    found = ids(s3_bucket)
    assert len(found) == len(set(found)) == 700
    assert set(found) == corpus.ids


def test_a_stopped_job_goes_on_with_another_number_of_hosts(
    containers: ModuleType, corpus: Any, s3_bucket: str, tmp_path: Path
) -> None:
    corpus.add(files=9, documents=200)
    corpus.spec["model"]["engine"] = "onnx"
    corpus.spec["execution"] = {"workers": 1, "batch_tokens": 32}
    upload(corpus, s3_bucket)
    client = boto3.client("s3")

    def manifests() -> int:
        found = client.list_objects_v2(Bucket=s3_bucket, Prefix="out/_embed_job/manifests/")
        return int(found["KeyCount"])

    first = start(containers, corpus, tmp_path / "1", hosts=2)
    containers.wait_for(lambda: manifests() >= 2, first[0][1])
    for _, process in first:
        process.send_signal(signal.SIGTERM)
    ended = [root.end(process) for root, process in first]
    assert [one.code for one in ended] == [ExitCode.TERMINATED] * 2, str(ended)
    done = manifests()
    assert done >= 2
    second = start(containers, corpus, tmp_path / "2", hosts=HOSTS)
    ended = [root.end(process) for root, process in second]
    assert [one.code for one in ended] == [ExitCode.OK] * HOSTS, str(ended)
    found = ids(s3_bucket)
    assert len(found) == len(set(found)) == 1800
