"""What a user is told of a cluster's trouble, and which of it may pass."""

from __future__ import annotations

from typing import Any

import opensearchpy
import pytest
import urllib3
from botocore.exceptions import CredentialRetrievalError, NoCredentialsError
from opensearchpy.exceptions import ConnectionError as BrokenConnection
from opensearchpy.exceptions import SSLError

from embed_job.errors import OutputError
from embed_job.opensearch.errors import explain, explained, is_passing
from embed_job.opensearch.patience import Patience

POOL = urllib3.HTTPSConnectionPool("search")


def refused(status: int, body: Any, kind: type[Exception] | None = None) -> Exception:
    """An error as the client raises it for an answer with a JSON body."""
    error = body.get("error", body) if isinstance(body, dict) else body
    named = error["type"] if isinstance(error, dict) and "type" in error else error
    return (kind or opensearchpy.TransportError)(status, named, body)


def body(kind: str, reason: str) -> dict[str, Any]:
    return {"error": {"type": kind, "reason": reason, "root_cause": []}}


def broken(cause: Exception, kind: type[Exception] = BrokenConnection) -> Exception:
    return kind("N/A", str(cause), cause)


TROUBLE: list[tuple[Exception, str, str, bool]] = [
    (
        refused(403, body("cluster_block_exception", "blocked by: disk usage exceeded")),
        "writing is blocked (blocked by: disk usage exceeded)",
        "free space",
        False,
    ),
    (
        refused(429, body("circuit_breaking_exception", "Data too large")),
        "the cluster is out of memory for now (Data too large)",
        "bulk.max_mib",
        True,
    ),
    (
        refused(403, {"message": "The security token included in the request is expired"}),
        "the AWS credentials have expired",
        "renewed by themselves",
        False,
    ),
    (
        refused(403, {"Message": "User: anonymous is not authorized"}),
        "access was refused (User: anonymous is not authorized)",
        "access policy",
        False,
    ),
    (
        refused(403, {"message": "The request signature we calculated does not match"}),
        "the signature was not accepted",
        "region",
        False,
    ),
    (refused(401, "Unauthorized"), "who asks was not accepted (Unauthorized)", "secret", False),
    (refused(404, body("index_not_found_exception", "no such index [x]")), "it is not", "", False),
    (refused(429, "Too many requests"), "the cluster is too busy", "Run the same", True),
    (refused(503, "busy"), "the cluster failed with 503 (busy)", "health", True),
    (refused(301, ""), "the server redirects elsewhere (301)", "redirects to", False),
    (refused(400, body("x", "mapper broke")), "refused the request with 400", "reason", False),
    (
        broken(urllib3.exceptions.NameResolutionError("h", POOL, OSError("no")), BrokenConnection),
        "the name of the server is not known",
        "VPC",
        True,
    ),
    (
        broken(urllib3.exceptions.ConnectTimeoutError(POOL, "late")),
        "nothing answers there",
        "security groups",
        True,
    ),
    (
        broken(urllib3.exceptions.NewConnectionError(POOL, "refused")),
        "the connection was refused",
        "port",
        True,
    ),
    (
        broken(urllib3.exceptions.ReadTimeoutError(POOL, "/", "late"), BrokenConnection),
        "a request was not answered in time",
        "bulk.timeout_s",
        True,
    ),
    (
        broken(urllib3.exceptions.ProtocolError("reset by peer")),
        "the connection broke (reset by peer)",
        "Run the same",
        True,
    ),
    (
        broken(urllib3.exceptions.SSLError("CERTIFICATE_VERIFY_FAILED: self-signed"), SSLError),
        "the server's certificate is not to be trusted",
        "ca_bundle",
        False,
    ),
    (
        broken(urllib3.exceptions.SSLError("[SSL: WRONG_VERSION_NUMBER]"), SSLError),
        "the server speaks no TLS at that port",
        "scheme",
        False,
    ),
    (
        broken(CredentialRetrievalError(provider="container", error_msg="gone")),
        "AWS gave no usable credentials",
        "Log in again",
        False,
    ),
    (NoCredentialsError(), "AWS gave no usable credentials", "get-caller-identity", False),
    (
        opensearchpy.SerializationError("Unknown mimetype: text/html"),
        "the answer is not OpenSearch's",
        "proxy",
        False,
    ),
]


@pytest.mark.parametrize(("error", "what", "hint", "passing"), TROUBLE)
def test_each_trouble_is_told_with_what_to_do(
    error: Exception, what: str, hint: str, passing: bool
) -> None:
    found = explain(error, where="https://search/kb")
    assert found is not None
    assert what in found.what
    assert hint in found.hint
    assert found.where == "https://search/kb"
    assert is_passing(error) is passing


def test_other_errors_go_through_as_they_are() -> None:
    assert explain(KeyError("x"), where="w") is None
    with pytest.raises(KeyError), explained("w"):
        raise KeyError("x")
    with pytest.raises(OutputError, match="access was refused"), explained("w"):
        raise refused(403, {"message": "no"})


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def patience(self, limit_s: float) -> Patience:
        return Patience(limit_s=limit_s, clock=lambda: self.now_s, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def test_what_passes_is_waited_for() -> None:
    answers = iter([refused(503, ""), refused(429, ""), None])
    time = Time()

    def ask() -> str:
        if error := next(answers):
            raise error
        return "done"

    assert time.patience(60).call(ask, where="w") == "done"
    assert 0 < time.now_s < 5


def test_patience_ends_and_refusals_are_told_at_once() -> None:
    time = Time()

    def fail(status: int) -> None:
        raise refused(status, "no")

    with pytest.raises(OutputError, match="failed with 503"):
        time.patience(20).call(lambda: fail(503), where="w")
    assert 10 < time.now_s <= 20
    before_s = time.now_s
    with pytest.raises(OutputError, match="refused the request with 400"):
        time.patience(20).call(lambda: fail(400), where="w")
    assert time.now_s == before_s
