"""What doctor says of an OpenSearch server that is not as it should be, or not to be reached."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from embed_job.errors import UserError
from embed_job.spec import JobSpec
from launcher.aws.clients import Clients
from launcher.checks import Check
from launcher.cluster import index_checks
from launcher.doctor import diagnose

VPC = "https://vpc-vectors-abcdefghijklmnopqrstuvwxyz.eu-west-1.es.amazonaws.com"
Answers = dict[str, tuple[int, Any]]


def spec_of(url: str, **options: Any) -> JobSpec:
    return JobSpec.model_validate(
        {
            "name": "kb",
            "input": {"uri": "data/"},
            "model": {"bundle": "no/such/bundle"},
            "outputs": [
                {"parquet": {"uri": "out/"}},
                {"opensearch": {"url": url, "alias": "kb", **options}},
            ],
        }
    )


def checks_of(spec: JobSpec) -> dict[str, Check]:
    return {check.name: check for check in index_checks(spec)}


@contextmanager
def server(answers: Answers) -> Iterator[str]:
    """A server that knows a few paths; of others it says 404."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            status, body = answers.get(self.path.partition("?")[0], (404, {}))
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815 - http.server's names

        def log_message(self, *arguments: Any) -> None:
            """The output is the test's."""

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.server_port}"
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()


def version(number: str, **others: str) -> tuple[int, Any]:
    return 200, {"version": {"number": number, "distribution": "opensearch", **others}}


STATS = "/_plugins/_knn/stats"
KNN = (200, {"circuit_breaker_triggered": False, "nodes": {"a": {}, "b": {}}})


def test_one_node_is_told_as_one() -> None:
    lone = (200, {"circuit_breaker_triggered": False, "nodes": {"a": {}}})
    with server({"/": version("2.19.1"), STATS: lone}) as url:
        assert checks_of(spec_of(url))["OpenSearch k-NN"].detail == "on 1 node"


def test_a_spec_without_an_index_asks_nobody() -> None:
    plain = spec_of("http://127.0.0.1:1").model_dump(exclude_unset=True)
    spec = JobSpec.model_validate(plain | {"outputs": plain["outputs"][:1]})
    assert checks_of(spec) == {}


def test_a_server_that_will_do() -> None:
    with server({"/": version("2.19.1"), STATS: KNN, "/kb-2026": (200, {})}) as url:
        found = checks_of(spec_of(url, index="kb-2026"))
        unnamed = checks_of(spec_of(url))
        unmade = checks_of(spec_of(url, index="kb-2027"))
    assert {check.state for check in found.values()} == {"ok"}
    assert found["OpenSearch"].detail == "version 2.19.1"
    assert found["OpenSearch k-NN"].detail == "on 2 nodes"
    assert "kb-2026 is there" in found["OpenSearch index"].detail
    assert unnamed["OpenSearch index"].state == "unknown"  # which depends on the bundle
    assert "not there yet" in unmade["OpenSearch index"].detail


@pytest.mark.parametrize(
    ("answers", "name", "what"),
    [
        ({"/": version("2.11.0")}, "OpenSearch", "version 2.11.0"),
        (
            {"/": (200, {"version": {"number": "8.15.0"}})},
            "OpenSearch",
            "elasticsearch 8.15.0",
        ),
        ({"/": (401, {})}, "OpenSearch", "not accepted"),
        ({"/": (403, {"Message": "User is not authorized"})}, "OpenSearch", "not authorized"),
        ({"/": (200, "a page")}, "OpenSearch", "no OpenSearch server"),
        ({"/": version("2.19.1")}, "OpenSearch k-NN", "no k-NN plugin"),
        (
            {"/": version("2.19.1"), STATS: (200, {"circuit_breaker_triggered": True})},
            "OpenSearch k-NN",
            "memory is used up",
        ),
    ],
    ids=["old", "another", "unknown user", "no access", "a page", "no plugin", "full"],
)
def test_what_is_wrong_with_a_server(answers: Answers, name: str, what: str) -> None:
    with server(answers) as url:
        check = checks_of(spec_of(url))[name]
    assert check.state == "missing"
    assert what in check.detail
    assert check.hint


def test_nobody_there() -> None:
    with server({}) as url:
        pass
    check = checks_of(spec_of(url))["OpenSearch"]
    assert check.state == "missing"
    assert check.hint


@pytest.mark.usefixtures("no_credentials")
def test_without_credentials_none_is_asked() -> None:
    check = checks_of(spec_of(VPC))["OpenSearch"]
    assert (check.state, "credentials" in check.detail) == ("missing", True)


def test_a_domain_in_a_vpc_may_be_out_of_reach_here_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")
    check = checks_of(spec_of(VPC))["OpenSearch"]
    assert check.state == "unknown"
    assert "out of reach from here" in check.detail


def nobody() -> Clients:
    raise UserError("AWS", "was asked for", "It is not needed.")


def test_of_an_index_without_passwords_no_aws_is_asked_for(tmp_path: Path) -> None:
    with server({"/": version("2.19.1"), STATS: KNN}) as url:
        found = {one.name: one for one in diagnose(spec_of(url), connect=nobody, bundle=tmp_path)}
    assert found["AWS"].detail.startswith("not needed")
    needed = [one for one in found.values() if one.state == "missing" and not one.optional]
    assert needed == []
    assert "region" not in found
    assert found["model bundle"].detail.startswith("none in no/such/bundle")


@pytest.mark.usefixtures("no_credentials")
@pytest.mark.parametrize(
    "change",
    [
        {"input": {"uri": "s3://bucket/docs/"}},
        {"compute": {"role_arn": "arn:aws:iam::123456789012:role/embed"}},
    ],
)
def test_where_aws_is_needed_it_is_asked_for(tmp_path: Path, change: dict[str, Any]) -> None:
    with server({}) as url:
        plain = spec_of(url).model_dump(exclude_unset=True) | change
        spec = JobSpec.model_validate(plain)
        found = [*diagnose(spec, connect=nobody, bundle=tmp_path)]
    assert any(one.name == "AWS client" and "was asked for" in one.detail for one in found)


@pytest.fixture
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/dev/null")
