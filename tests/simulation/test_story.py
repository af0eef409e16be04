"""README's way from a first backfill to nightly runs, to another model, and back: its commands as
they are printed there, typed one after the other.

AWS is moto's and SageMaker is this machine: `--on local` is added where a job is run. What README
leaves out of its spec, addresses and digests, is filled in; and the server here has no faiss.
"""

from __future__ import annotations

import ipaddress
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from cryptography import x509
from opensearchpy import OpenSearch

from embed_job.dry_run.stdlib_docs import write_stdlib_docs
from tests.functional.test_opensearch_client import Authority
from tests.simulation.aws import Aws, running_aws
from tests.simulation.program import ROOT
from tests.simulation.tls import HOST, tls_door

SECTION = "## Keep it true, night after night"
REGION = "eu-west-1"
BUCKET = "my-bucket"
DOCUMENTS = 160
FILES = 4
_HERE = " --on local --runner process"
_JOBS = ("submit", "run-now")


@dataclass(slots=True)
class Story:
    """A user's folder, account and corpus. docs: what lies in S3, by id."""

    folder: Path
    aws: Aws
    client: OpenSearch
    alias: str
    docs: dict[str, dict[str, Any]] = field(default_factory=dict)
    told: str = ""

    def publish(self) -> None:
        """The corpus to S3, in FILES files."""
        lines = [orjson.dumps(doc) + b"\n" for _, doc in sorted(self.docs.items())]
        size = -(-len(lines) // FILES)
        for file in range(FILES):
            body = b"".join(lines[file * size : (file + 1) * size])
            self.aws.s3.put_object(Bucket=BUCKET, Key=f"kb/{file}.jsonl", Body=body)

    def pass_a_day(self) -> None:
        """One document is edited, one is new, one is gone."""
        edited, gone, *_ = sorted(self.docs)
        self.docs[edited]["body"] += f" Besides, {uuid.uuid4().hex}."
        del self.docs[gone]
        new = f"new.{uuid.uuid4().hex}"
        self.docs[new] = {"id": new, "title": new, "body": "Nobody had told.", "module": "new"}
        self.publish()

    def type(self, command: str) -> None:
        """The command as README has it, in a shell; it must succeed."""
        words = command.split()
        here = _HERE if any(word in words for word in _JOBS) else ""
        done = subprocess.run(
            ["bash", "-c", f"{command}{here}"],
            cwd=self.folder,
            env=self.aws.environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        self.told = done.stdout + done.stderr
        assert done.returncode == 0, f"{command}\n{self.told}"

    def live(self) -> str:
        """The index that searches see."""
        (name,) = self.client.indices.get_alias(name=self.alias)
        return str(name)

    def found(self) -> set[str]:
        """Ids of the documents that searches see."""
        self.client.indices.refresh(index=self.alias)
        body = {"size": 10_000, "_source": ["doc_id"]}
        hits = self.client.search(index=self.alias, body=body)["hits"]["hits"]
        return {hit["_source"]["doc_id"] for hit in hits}

    def stored(self) -> dict[str, str]:
        """Every object in S3 and its version."""
        pages = self.aws.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        return {one["Key"]: one["ETag"] for page in pages for one in page.get("Contents", [])}


@pytest.fixture(scope="module")
def section() -> str:
    readme = (ROOT / "README.md").read_text()
    return readme.partition(f"{SECTION}\n")[2].partition("\n## ")[0]


def blocks(section: str, kind: str) -> Iterator[str]:
    """Texts between ``` of a kind."""
    for part in section.split(f"```{kind}\n")[1:]:
        yield part.partition("```")[0]


def commands(section: str) -> list[str]:
    """What README tells to type, without remarks."""
    lines = [line for block in blocks(section, "sh") for line in block.splitlines()]
    return [line.partition("  #")[0].strip() for line in lines]


@pytest.fixture(scope="module")
def story(
    section: str,
    tmp_path_factory: pytest.TempPathFactory,
    opensearch_url: str,
    both_bundle: Path,
) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("story")
    alias = f"kb-{uuid.uuid4().hex[:8]}"
    (folder / "models").mkdir()
    (folder / "models/default").symlink_to(both_bundle)
    (folder / ".venv").symlink_to(sys.prefix)
    authority = Authority(folder)
    name = x509.IPAddress(ipaddress.ip_address(HOST))
    with (
        tls_door(opensearch_url, authority.server(name)) as url,
        running_aws() as aws,
        OpenSearch(opensearch_url, timeout=60) as client,
    ):
        index = {"url": url, "ca_bundle": str(authority.bundle), "alias": alias}
        write_spec(folder / "kb.yaml", section, **index)
        where: Any = {"LocationConstraint": REGION}
        aws.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration=where)
        made = Story(folder, aws, client, alias)
        write_stdlib_docs(folder / "docs.jsonl", count=DOCUMENTS)
        for line in (folder / "docs.jsonl").read_bytes().splitlines():
            doc = orjson.loads(line)
            made.docs[doc["id"]] = doc
        made.publish()
        titles = [doc["title"] for doc in made.docs.values()][:30]
        queries = b"\n".join(orjson.dumps({"query": title}) for title in titles)
        aws.s3.put_object(Bucket=BUCKET, Key="queries.jsonl", Body=queries)
        yield made
        client.indices.delete(index=f"{alias}*", params={"ignore_unavailable": "true"})


def write_spec(path: Path, section: str, **index: str) -> None:
    """README's spec, with what it leaves out, and an index that the server here can make."""
    (block,) = blocks(section, "yaml")
    said = yaml.safe_load(block)
    said["compute"]["image_uri"] = said["compute"]["image_uri"].replace("…", "0" * 64)
    here = {**index, "replicas": 0, "graph": {"engine": "lucene"}}
    said["outputs"][1]["opensearch"] |= here
    path.write_text(yaml.safe_dump(said, default_flow_style=None, width=1000))


def test_what_readme_tells_to_type(story: Story, section: str) -> None:
    lines = iter(commands(section))

    def step(expected: str) -> None:
        """README's next command, which is this one."""
        assert next(lines) == expected
        story.type(expected)

    program = ".venv/bin/embed-job"
    step(f"{program} submit kb.yaml --wait")
    step(f"{program} promote kb.yaml")
    old = story.live()
    assert story.found() == set(story.docs)

    step(f"{program} schedule create kb.yaml")
    story.pass_a_day()
    stored = story.stored()
    step(f"{program} plan kb.yaml --diff")
    assert story.stored() == stored, "plan --diff touched something"
    step(f"{program} schedule run-now kb.yaml")
    assert story.found() == set(story.docs)
    step(f"{program} schedule show kb.yaml")
    assert "Europe/Berlin" in story.told

    step(f"{program} bundle default --precision int8 --out models/default")
    step("sed 's|kb-fp32|kb-int8|; s|precision: fp32|precision: int8|' kb.yaml > kb-int8.yaml")
    step(f"{program} submit kb-int8.yaml --wait")
    assert story.live() == old
    step(f"{program} canary kb-int8.yaml")
    step(f"{program} promote kb-int8.yaml")
    assert story.live() != old
    assert story.found() == set(story.docs)
    step(f"{program} schedule create kb-int8.yaml")

    step(f"{program} rollback kb-int8.yaml")
    assert story.live() == old
    story.pass_a_day()
    step(f"{program} schedule create kb.yaml")
    step(f"{program} schedule run-now kb.yaml")
    assert story.live() == old
    assert story.found() == set(story.docs)
    assert next(lines, None) is None
