"""Every request that a job's hosts and the commands make to a domain is in the printed policies,
and nothing is in them that none makes."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from embed_job.cli.program import run_program
from embed_job.opensearch.client import connect
from embed_job.opensearch.index.memory import breaker_bytes
from embed_job.spec import JobSpec
from embed_job.spec.file import load_spec
from launcher.cli import app
from launcher.iam import make_policies
from tests.opensearch import corpora
from tests.opensearch.proxy import Proxy

DOMAIN = "https://search-vectors-abcdefghijklmnopqrstuvwxyz.eu-west-1.es.amazonaws.com"
ARN = "arn:aws:es:eu-west-1:123456789012:domain/vectors"
Request = tuple[str, str]
"""An action of IAM, and the resource."""


def requests_of(proxy: Proxy) -> set[Request]:
    """What IAM would be asked for all that has passed."""
    return {
        (
            f"es:ESHttp{seen.request.method.capitalize()}",
            ARN + seen.request.target.partition("?")[0],
        )
        for seen in list(proxy.seen)
    }


def es_statements(policy: dict[str, Any]) -> list[dict[str, Any]]:
    return [item for item in policy["Statement"] if item["Action"][0].startswith("es:")]


def refused(requests: set[Request], policy: dict[str, Any]) -> list[Request]:
    return sorted(
        (action, resource)
        for action, resource in requests
        if not any(
            action in item["Action"] and any(fnmatchcase(resource, one) for one in item["Resource"])
            for item in es_statements(policy)
        )
    )


@pytest.fixture
def policies(index_name: str) -> Any:
    return make_policies(
        JobSpec.model_validate(
            {
                "name": "test",
                "input": {"uri": "s3://corpus/in/"},
                "outputs": [
                    {"parquet": {"uri": "s3://corpus/out/"}},
                    {"opensearch": {"url": DOMAIN, "alias": index_name}},
                ],
                "compute": {"role_arn": "arn:aws:iam::123456789012:role/r", "region": "eu-west-1"},
            }
        )
    )


def run(*arguments: str, code: int = 0) -> None:
    assert run_program(app, list(arguments), name="embed-job") == code


def test_what_is_asked_of_a_domain_is_granted_and_nothing_else(
    tmp_path: Path, proxy: Proxy, index_name: str, policies: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    corpora.write_corpus(tmp_path, rows=60, splits=2)
    corpora.make_bundle(tmp_path, dim=16)
    path = corpora.spec_file(tmp_path, proxy.url, alias=index_name)
    path.write_text(path.read_text().replace("engine: 'null'", "engine: onnx"))  # to be searched
    spec = str(path)
    run("run", spec, "--quiet")
    of_hosts = requests_of(proxy)
    assert refused(of_hosts, policies.execution_role) == []

    proxy.seen.clear()
    run("load", spec, "--all", "--quiet")
    # One row changes and one goes, so that something is deleted.
    corpora.write_split(tmp_path, 0, [corpora.document(n, edition="new ") for n in range(29)])
    fraction = ("--set", "refresh.max_delete_fraction=1")
    run("run", spec, "--quiet", *fraction)
    run("redrive", spec)
    run("finalize", spec)
    run("verify", spec)
    run("promote", spec)
    run("search", "brown fox", "--in", spec, "--hybrid")
    run("rollback", spec, code=4)  # it has replaced no index
    run("doctor", spec)
    capfd.readouterr()
    output = load_spec(path).opensearch
    assert output is not None
    with connect(output) as client:
        # A load asks so for faiss, which this server's package can't index with.
        assert breaker_bytes(client, where=proxy.url)
    of_people = requests_of(proxy)
    assert refused(of_people, policies.index) == []

    asked = of_hosts | of_people
    granted = {
        (action, resource)
        for item in es_statements(policies.index)
        for action in item["Action"]
        for resource in item["Resource"]
    }
    assert {action for action, _ in granted} == {action for action, _ in asked}
    unused = {
        resource
        for _, resource in granted
        if not any(fnmatchcase(one, resource) for _, one in asked)
    }
    assert unused == set()
