"""An OpenSearch output against the job that loads it: what its hosts could not reach or do."""

from __future__ import annotations

from collections.abc import Iterator

from embed_job.spec import JobSpec
from embed_job.spec.compute import ComputeSpec
from embed_job.spec.opensearch import OpenSearchOutput
from launcher.rules.problems import Known, Problem, error, warning

AFTERWARDS = "run `embed-job load` where the server can be reached, on a spec with that output"
MAX_ID_BYTES = 512
NOT_SERVERLESS = ("shards", "replicas")
"""Keys of the output that Serverless decides itself."""


def index(spec: JobSpec, compute: ComputeSpec, known: Known) -> Iterator[Problem]:
    """Every rule about the OpenSearch output; none where the spec has none."""
    output, at = spec.opensearch, spec.opensearch_key
    if output is None:
        return
    yield from _delivery(compute, at)
    yield from _canary(output, at)
    if known.on == "sagemaker":
        yield from _reach(output, compute, at)
        yield from _regions(output, known, at)
    if output.on_aws and output.auth_in_force == "none":
        what = "none signs nothing, which only a domain answers that is open to everyone"
        hint = "Leave it out: requests are then signed as the role that the job runs as."
        yield warning(f"{at}.auth", what, hint)
    if output.is_serverless:
        yield from _serverless(output, at)
    elif spec.input.max_id_bytes > MAX_ID_BYTES:
        what = f"lets ids through of more than the {MAX_ID_BYTES} bytes that an index takes"
        yield warning("input.max_id_bytes", what, "Leave it out, or expect dead letters.")


def _delivery(compute: ComputeSpec, at: str) -> Iterator[Problem]:
    if compute.network.isolation:
        what = f"keeps hosts from reaching {at}.url"
        hint = f"Leave that output out of what is submitted, then {AFTERWARDS}."
        yield error("compute.network.isolation", what, hint)
    elif compute.delivery == "processing_output":
        what = f"processing_output commits nothing until SageMaker has uploaded it, and {at} is "
        hint = f"Set direct, or leave that output out of what is submitted and {AFTERWARDS}."
        yield error("compute.delivery", f"{what}loaded from what is committed", hint)


def _canary(output: OpenSearchOutput, at: str) -> Iterator[Problem]:
    canary = output.gates.canary
    if canary is not None and not canary.queries.startswith("s3://"):
        what = f"{canary.queries} is read by the job's hosts, which see S3 alone"
        hint = "Upload it, and name it as s3://bucket/queries.jsonl; commands here read that, too."
        yield error(f"{at}.gates.canary.queries", what, hint)


def _reach(output: OpenSearchOutput, compute: ComputeSpec, at: str) -> Iterator[Problem]:
    if output.is_loopback:
        what = f"{output.url} is this machine, which no host of SageMaker can reach"
        hint = "Name a server that they can reach; `run` and `submit --on local` take this one."
        yield error(f"{at}.url", what, hint)
    if output.in_vpc and not compute.network.subnets:
        what = "lies in a VPC, which the job's hosts are not part of"
        hint = "Set compute.network's subnets and security_group_ids in that VPC."
        yield warning(f"{at}.url", what, hint)
    if output.ca_bundle is not None:
        what = f"{output.ca_bundle} is read by the hosts, from their image"
        yield warning(f"{at}.ca_bundle", what, "Put it there, at that path, when you build it.")


def _regions(output: OpenSearchOutput, known: Known, at: str) -> Iterator[Problem]:
    region = output.region_in_force
    if region and known.region and region != known.region:
        what = f"lies in {region}, and the job runs in {known.region}"
        hint = "Each row costs the transfer between them: set compute.region, or move the index."
        yield warning(f"{at}.url", what, hint)
    owner = output.secret_arn.split(":")[4] if output.secret_arn else None
    if owner and known.account and owner != known.account:
        what = f"belongs to account {owner}, but you are in {known.account}"
        hint = "Its own policy and its key's must let the job's role in; AWS's own key never does."
        yield warning(f"{at}.secret_arn", what, hint)


def _serverless(output: OpenSearchOutput, at: str) -> Iterator[Problem]:
    if output.graph.engine == "lucene" and output.on_aws:
        what = "lucene is no engine of a Serverless vector collection"
        yield error(f"{at}.graph.engine", what, "Leave it out: faiss is.")
    for key in NOT_SERVERLESS:
        if key in output.model_fields_set:
            what = "has no effect: Serverless decides that itself"
            yield warning(f"{at}.{key}", what, "Leave it out.")
    yield warning(
        at,
        "Serverless takes no ids of ours: each row arrives at least once, and copies that a "
        "failed request leaves are removed at the end of the load",
        "docs/opensearch.md says what is promised; a domain takes each row once.",
    )
