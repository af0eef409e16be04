"""A job of several hosts on this machine, by the same request as on AWS, that fills an index."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from opensearchpy import OpenSearch

from tests.opensearch import corpora

ROOT = Path(__file__).parents[2]
ROWS = 60


@pytest.mark.parametrize("sharing", ["sharded_by_s3_key", "balanced"])
def test_hosts_on_this_machine_fill_an_index_and_one_finishes_it(
    sharing: str, tmp_path: Path, client: OpenSearch, opensearch_url: str, index_name: str
) -> None:
    corpora.write_corpus(tmp_path, rows=ROWS, splits=4)
    corpora.make_bundle(tmp_path, dim=16)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "default").symlink_to(tmp_path / "bundle")
    spec = yaml.safe_load(corpora.spec_file(tmp_path, opensearch_url, alias=index_name).read_text())
    spec["input"]["uri"] = "s3://my-bucket/in/"
    spec["outputs"][0]["parquet"]["uri"] = "s3://my-bucket/out/"
    spec["compute"] = {"instance_count": 2, "region": "eu-west-1", "sharing": sharing}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))

    # The stand-in for S3 makes the buckets and puts the documents there.
    submit = [sys.executable, "-m", "launcher.cli", "submit", "spec.yaml", "--on", "local"]
    stand_in = [sys.executable, "-m", "launcher.local.stand_in", "spec.yaml", "--documents", "in"]
    done = subprocess.run(
        [*stand_in, "--", *submit, "--runner", "process"],
        cwd=tmp_path,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    (index,) = client.indices.get(index=f"{index_name}-*")
    found = client.search(index=index, body={"size": ROWS, "_source": False})["hits"]
    assert {hit["_id"] for hit in found["hits"]} == {corpora.row_id(n) for n in range(ROWS)}
    assert client.count(index=index)["count"] == ROWS
    meta = client.indices.get_mapping(index=index)[index]["mappings"]["_meta"]["embed_job"]
    assert meta["profile"] is None
    assert f"{ROWS} written" in done.stdout + done.stderr
