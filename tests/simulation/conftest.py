"""The simulated world, one for the session."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from opensearchpy import OpenSearch

from embed_job.bundle.build import build_bundle
from tests.simulation.aws import running_aws
from tests.simulation.changeover import pipelines, write_queries
from tests.simulation.corpus import Corpus
from tests.simulation.expected import Cutting
from tests.simulation.index import Index
from tests.simulation.output import BUCKET
from tests.simulation.program import Program
from tests.simulation.world import World

SEED = int(os.environ.get("SIMULATED_SEED", "7"))


@pytest.fixture(scope="session")
def both_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default model in fp32 and int8: two models to a folder and to an index."""
    out = tmp_path_factory.mktemp("both") / "bundle"
    build_bundle("default", out, precisions=("fp32", "int8"))
    return out


@pytest.fixture(scope="session")
def world(
    tmp_path_factory: pytest.TempPathFactory,
    opensearch_url: str,
    both_bundle: Path,
    tiny_bundle: Path,
) -> Iterator[World]:
    alias = f"sim-{uuid.uuid4().hex[:8]}"
    folder = tmp_path_factory.mktemp("world")
    with running_aws() as aws, OpenSearch(opensearch_url, timeout=60) as client:
        aws.s3.create_bucket(Bucket=BUCKET)
        made = World(
            folder=folder,
            aws=aws,
            corpus=Corpus(seed=SEED),
            cutting=Cutting(both_bundle),
            index=Index(client, alias),
            program=Program(folder, aws.environment),
            url=opensearch_url,
        )
        write_queries(made)
        made.pipelines = pipelines(made, bundle=str(both_bundle), tiny=str(tiny_bundle))
        yield made
        client.indices.delete(index=f"{alias}*", params={"ignore_unavailable": "true"})
