"""What a spec needs of its OpenSearch server, asked from here without changing anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from embed_job.cli.plural import plural
from embed_job.errors import UserError
from embed_job.spec import JobSpec
from embed_job.spec.opensearch import OpenSearchOutput
from launcher.checks import Check, missing, ok, unknown

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

_TIMEOUT_S = 15
_LEAST_VERSION = (2, 17)
"""The first whose k-NN knows mode: on_disk; what this project does was run on 2.19."""


def index_checks(spec: JobSpec) -> Iterator[Check]:
    """Whether the server answers, is one that searches vectors, and what its index is; none where
    the spec has no OpenSearch output."""
    from embed_job.opensearch.client import connect

    output = spec.opensearch
    if output is None:
        return
    try:
        client = connect(output)
    except UserError as error:
        yield missing("OpenSearch", error.what, error.hint)
        return
    with client:
        if output.is_serverless:
            yield _asked(output, "OpenSearch", lambda: _collection(client, output))
            return
        first = _asked(output, "OpenSearch", lambda: _server(client))
        yield first
        if first.state == "ok":
            yield _asked(output, "OpenSearch k-NN", lambda: _vectors(client))
            yield _asked(output, "OpenSearch index", lambda: _index(client, spec, output))


def _asked(output: OpenSearchOutput, name: str, ask: Callable[[], Check]) -> Check:
    """What came of asking; a domain in a VPC may be out of reach here and not for its hosts."""
    from embed_job.opensearch.errors import explain

    try:
        return ask()
    except Exception as error:
        found = error if isinstance(error, UserError) else explain(error, where=output.url)
        if found is None:
            raise
        if output.in_vpc:
            return unknown(name, f"out of reach from here: {found.what}", found.hint)
        return missing(name, found.what, found.hint)


def _server(client: OpenSearch) -> Check:
    found = client.info(request_timeout=_TIMEOUT_S)
    version = found.get("version") if isinstance(found, dict) else None
    if not isinstance(version, dict):
        hint = "Check the url: a proxy, a login page or another service may be at it."
        return missing("OpenSearch", "what answers is no OpenSearch server", hint)
    number, kind = str(version["number"]), version.get("distribution", "elasticsearch")
    if kind != "opensearch":
        hint = "Name an OpenSearch server."
        return missing("OpenSearch", f"the server is {kind} {number}", hint)
    major, minor, *_ = (int(part) for part in number.split("."))
    if (major, minor) < _LEAST_VERSION:
        hint = "Update it: 2.17 is the oldest whose k-NN has all that is asked for."
        return missing("OpenSearch", f"the server is of version {number}", hint)
    return ok("OpenSearch", f"version {number}")


def _vectors(client: OpenSearch) -> Check:
    from opensearchpy import NotFoundError, RequestError

    name = "OpenSearch k-NN"
    try:
        stats = client.transport.perform_request(
            "GET", "/_plugins/_knn/stats", params={"request_timeout": _TIMEOUT_S}
        )
    except (NotFoundError, RequestError):
        return missing(name, "the server has no k-NN plugin", "Install it: it searches vectors.")
    if stats.get("circuit_breaker_triggered"):
        hint = "Its graphs no longer fit: larger nodes, fewer replicas, or storage: float16."
        return missing(name, "its memory is used up (circuit_breaker_triggered)", hint)
    return ok(name, f"on {plural(len(stats.get('nodes', {})), 'node')}")


def _index(client: OpenSearch, spec: JobSpec, output: OpenSearchOutput) -> Check:
    from launcher.planning.index import find_index

    name = "OpenSearch index"
    index = find_index(spec, rows=None)
    if index is None or index.name is None:
        hint = "Bring the bundle of the spec: an index is named by the fingerprint that it gives."
        return unknown(name, f"{output.alias}-FINGERPRINT-…: no bundle here to tell which", hint)
    if client.indices.exists(index=index.name, request_timeout=_TIMEOUT_S):
        return ok(name, f"{index.name} is there; a load checks it against the spec")
    return ok(name, f"{index.name} is not there yet; a load makes it")


def _collection(client: OpenSearch, output: OpenSearchOutput) -> Check:
    """Serverless tells of no version; a look for a name shows that it lets us in."""
    name = output.index or output.alias or ""
    found = client.indices.exists(index=name, request_timeout=_TIMEOUT_S)
    there = "is there" if found else "is not there yet"
    return ok("OpenSearch", f"the collection answers; {name} {there}")
