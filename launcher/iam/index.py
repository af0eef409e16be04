"""What an OpenSearch output needs: of the role that the job runs as, and of whoever loads,
checks, promotes or searches an index from elsewhere."""

from __future__ import annotations

import re
from typing import Any

from embed_job.commit.commits import PRIVATE
from embed_job.opensearch.target import KEPT_QUERIES
from embed_job.spec import JobSpec
from embed_job.spec.opensearch import OpenSearchOutput
from launcher.iam.arns import Arns, allow, document
from launcher.iam.launching import stored_key

DOMAIN_NAME, COLLECTION_ID, COLLECTION_NAME = "DOMAIN_NAME", "COLLECTION_ID", "COLLECTION_NAME"
"""What stands in a policy for what the url does not say."""

_DOMAIN = re.compile(r"(?:search|vpc)-(?P<name>[a-z][a-z0-9-]{2,27})-[a-z0-9]{20,}\..+")
# An account's own endpoint, which leads to all of its collections, begins with its number.
_COLLECTION = re.compile(r"(?!\d{12}\.)(?P<id>[a-z0-9]{3,40})\.(?:[a-z0-9-]+\.)?aoss\..+")
_WHOLE_SECRET = re.compile(r".+-[A-Za-z0-9]{6}")
_CLUSTER_READ = (
    "",
    "_cluster/health/*",
    "_cluster/settings",
    "_nodes/stats/*",
    "_plugins/_knn/*",
    "_tasks/*",
)
"""What is read beside the index itself; "" is the server's version."""
_CLUSTER_WRITTEN = ("_aliases", "_search", "_search/point_in_time")
"""What is sent beside the index itself: aliases, and searches at a point in time of an index."""
_ON_INDEX = (
    *("CreateIndex", "DescribeIndex", "UpdateIndex", "DeleteIndex"),
    *("ReadDocument", "WriteDocument"),
)
"""To delete is for a promotion, whose spec says how many indexes it keeps."""
_ON_COLLECTION = ("Create", "Describe", "Update", "Delete")
"""Of a collection's items, which aliases are."""


def index_statements(spec: JobSpec, arns: Arns) -> list[dict[str, Any]]:
    """Statements for requests to the server, for its password and for a canary's queries; none
    where the spec has no OpenSearch output, or one that asks IAM nothing."""
    output = spec.opensearch
    if output is None:
        return []
    return [*_server(output, arns), *_canary(output, arns)]


def _canary(output: OpenSearchOutput, arns: Arns) -> list[dict[str, Any]]:
    """Queries, and what earlier outputs of the bucket keep of them: their names are not known."""
    canary = output.gates.canary
    if canary is None:
        return []
    queries = canary.queries.removeprefix("s3://") if canary.queries.startswith("s3://") else None
    kept = f"{arns.output.bucket_arn()}/*/{PRIVATE}/{KEPT_QUERIES}/*"
    named = [f"arn:{arns.partition}:s3:::{queries}"] if queries else []
    return [allow("ReadQueries", ["s3:GetObject"], [*named, kept])]


def _server(output: OpenSearchOutput, arns: Arns) -> list[dict[str, Any]]:
    if output.auth_in_force == "basic":
        return [allow("ReadSecret", ["secretsmanager:GetSecretValue"], [_secret(output)])]
    if output.auth_in_force == "none":
        return []
    if output.is_serverless:
        found = _COLLECTION.fullmatch(output.host)
        collection = arns.collection(
            found["id"] if found else COLLECTION_ID, region=output.region_in_force
        )
        # What it may do there is the data access policy's to say.
        return [allow("ReachCollection", ["aoss:APIAccessAll"], [collection])]
    domain = arns.domain(domain_name(output) or DOMAIN_NAME, region=output.region_in_force)
    names = dict.fromkeys(name for name in (output.index, output.alias) if name)
    # NAME-*: indexes of an alias and their fingerprints, and the name that a load writes to.
    paths = [path for name in names for path in (name, f"{name}/*", f"{name}-*")]
    held = [f"_alias/{output.alias}"] if output.alias else []
    methods = ["es:ESHttpGet", "es:ESHttpHead", "es:ESHttpPost", "es:ESHttpPut", "es:ESHttpDelete"]
    return [
        allow("UseIndex", methods, [f"{domain}/{path}" for path in paths]),
        allow("AskCluster", methods[:2], [f"{domain}/{path}" for path in (*_CLUSTER_READ, *held)]),
        allow(
            "TellCluster",
            ["es:ESHttpPost", "es:ESHttpDelete"],
            [f"{domain}/{path}" for path in _CLUSTER_WRITTEN],
        ),
    ]


def index_policy(spec: JobSpec, arns: Arns) -> dict[str, Any] | None:
    """load, finalize SPEC, verify SPEC, canary, promote, rollback, redrive and search, from
    anywhere; None where the spec has no OpenSearch output."""
    if spec.opensearch is None:
        return None
    ledger = [arns.output.objects(PRIVATE, "loads")]
    if spec.opensearch.gates.canary is not None:
        ledger.append(arns.output.objects(PRIVATE, KEPT_QUERIES))
    return document(
        [
            *index_statements(spec, arns),
            arns.output.listing("ListOutput"),
            allow("ReadOutput", ["s3:GetObject"], [arns.output.objects()]),
            allow("KeepLedger", ["s3:PutObject", "s3:DeleteObject"], ledger),
            *stored_key(spec, arns),
        ]
    )


def data_access_policy(spec: JobSpec, arns: Arns) -> list[dict[str, Any]] | None:
    """The data access policy of a Serverless collection, which is none of IAM's; None elsewhere.

    Its principal is the job's role; whoever loads or promotes from elsewhere is to be added.
    """
    output = spec.opensearch
    if output is None or not output.is_serverless:
        return None
    names = dict.fromkeys(name for name in (output.index, output.alias) if name)
    patterns = [pattern for name in names for pattern in (name, f"{name}-*")]
    rules = [
        {
            "ResourceType": "index",
            "Resource": [f"index/{COLLECTION_NAME}/{pattern}" for pattern in patterns],
            "Permission": [f"aoss:{name}" for name in _ON_INDEX],
        },
        {
            "ResourceType": "collection",
            "Resource": [f"collection/{COLLECTION_NAME}"],
            "Permission": [f"aoss:{name}CollectionItems" for name in _ON_COLLECTION],
        },
    ]
    return [{"Rules": rules, "Principal": [arns.role]}]


def domain_name(output: OpenSearchOutput) -> str | None:
    """The name of a domain, as its url says it; None where it has an address of its own."""
    found = _DOMAIN.fullmatch(output.host) if output.on_aws else None
    return found["name"] if found else None


def unknown_names(spec: JobSpec) -> dict[str, str]:
    """Each placeholder of these policies that is to be replaced, and what with."""
    output = spec.opensearch
    if output is None or output.auth_in_force != "sigv4":
        return {}
    if output.is_serverless:
        collection = {COLLECTION_NAME: f"the name of the collection at {output.url}"}
        known = _COLLECTION.fullmatch(output.host) is not None
        return collection if known else {COLLECTION_ID: "its id", **collection}
    if domain_name(output) is not None:
        return {}
    return {DOMAIN_NAME: f"the name of the domain at {output.url}, which the url does not say"}


def _secret(output: OpenSearchOutput) -> str:
    """The ARN of the secret, whose last six characters Secrets Manager has added."""
    arn = output.secret_arn or ""
    return arn if _WHOLE_SECRET.fullmatch(arn) else f"{arn}-??????"
