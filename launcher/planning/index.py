"""The index that a job fills: its name, the memory it will need, and the requests of the hosts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from embed_job.errors import BundleError, SpecError
from embed_job.spec import JobSpec
from embed_job.spec.opensearch import OpenSearchOutput
from launcher.job.request import compute_of
from launcher.planning.calls import AwsCall
from launcher.rules.machines import choices

JSON_BYTES_PER_NUMBER = 11
"""Of a vector in a request, as measured; the rest of a row is a tenth of it."""
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class IndexFacts:
    """url: of the server. name: of the index; None where no bundle on this machine tells its
    fingerprint. rows: that it will hold, by the sample. memory_bytes: of its graphs over the whole
    cluster, replicas included; None on Serverless, which sizes itself. None: unknown.
    """

    url: str
    alias: str | None
    name: str | None
    serverless: bool
    rows: int | None
    memory_bytes: int | None
    request_bytes: int | None


def find_index(spec: JobSpec, *, rows: int | None) -> IndexFacts | None:
    """The index of a spec; None where it has no OpenSearch output. Asks no server.

    rows: chunks that the job will make, where known. Raises SpecError where the output does not
    go with the model.
    """
    from embed_job.bundle import open_bundle
    from embed_job.opensearch.index.memory import graph_bytes
    from embed_job.opensearch.target import IndexTarget
    from embed_job.plan import describe

    output = spec.opensearch
    if output is None:
        return None
    serverless, name, memory, size = output.is_serverless, output.index, None, None
    try:
        bundle = open_bundle(spec.model.bundle, precision=spec.model.precision, verify=False)
        target = IndexTarget(output, describe(spec, bundle))
    except BundleError:
        pass  # the plan says why; the name may be known all the same
    except SpecError as error:
        inside = error.where.startswith("opensearch.")
        at = spec.opensearch_key.removesuffix("opensearch") if inside else ""
        raise SpecError(f"{at}{error.where}", error.what, error.hint) from error
    else:
        name = target.name
        if rows is not None:
            memory = None if serverless else graph_bytes(target, rows)
            size = rows * bundle.dimension * JSON_BYTES_PER_NUMBER
    return IndexFacts(output.url, output.alias, name, serverless, rows, memory, size)


def index_calls(spec: JobSpec, index: IndexFacts | None) -> Iterator[AwsCall]:
    """What hosts ask of Secrets Manager and of the server, in order; none without an index."""
    output = spec.opensearch
    if index is None or output is None:
        return
    hosts = max(choice.instance_count for choice in choices(compute_of(spec)))
    if output.auth_in_force == "basic":
        secret = output.secret_arn or ""
        yield AwsCall("hosts", "secretsmanager:GetSecretValue", secret, hosts)
    canary = output.gates.canary
    if canary is not None:
        yield AwsCall("hosts", "s3:GetObject", canary.queries, 1)
    name = index.name or f"{index.alias}-FINGERPRINT-{output.generation:03}"
    for method, path, times in _requests(output, index, name, hosts=hosts):
        yield AwsCall("hosts", _action(output, method), f"{index.url}/{path}", times)


def _requests(
    output: OpenSearchOutput, index: IndexFacts, name: str, *, hosts: int
) -> Iterator[tuple[str, str, int | None]]:
    yield "GET", name, hosts
    yield "PUT", name, 1
    if not index.serverless:
        yield "PUT", f"{name}/_mapping", None
        yield "PUT", f"{name}/_settings", None
    size = index.request_bytes
    bulks = None if size is None else max(1, round(size / (output.bulk.max_mib * MIB)))
    yield "POST", f"{name if index.serverless else f'{name}-load'}/_bulk", bulks
    yield "POST", f"{name}/_search", None
    if output.promote == "auto":
        yield "POST", "_aliases", None
    if index.serverless:
        return
    yield "POST", f"{name}/_refresh", None
    yield "POST", f"{name}/_forcemerge", 1
    yield "GET", "_tasks/*", None
    yield "GET", f"_cluster/health/{name}", None
    yield "GET", f"_plugins/_knn/warmup/{name}", 1


def _action(output: OpenSearchOutput, method: str) -> str:
    """As IAM names it, where it is asked; else the request's own method."""
    if output.auth_in_force != "sigv4":
        return method
    return "aoss:APIAccessAll" if output.is_serverless else f"es:ESHttp{method.capitalize()}"
