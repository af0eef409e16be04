"""An OpenSearch output: which cluster and index, how the index is built, how it is loaded."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from embed_job.spec.gates import GateSpec
from embed_job.spec.section import Section

_AWS_HOST = re.compile(r"\.(?P<region>[a-z0-9-]+)\.(?P<service>es|aoss)\.amazonaws\.com(\.cn)?$")
_AWS_DUAL_STACK = re.compile(r"\.(?P<service>aos|aoss)\.(?P<region>[a-z0-9-]+)\.on\.aws$")
"""Names that have addresses of IPv6 too; those of newer collections are such."""
_LOOPBACK = frozenset(["localhost", "127.0.0.1", "::1"])
_INDEX_NAME = r"^[a-z0-9][a-z0-9._-]{0,199}$"
_IN_SECRETS_MANAGER = re.compile(r"arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:\d{12}:secret:\S+")


_SERVERS_OWN = re.compile(
    "_(data_stream_timestamp|doc_count|field_names|id|ignored|index|nested_path|routing|seq_no"
    "|source|version)"
)


WRITE_SUFFIX = "-load"
"""Of the alias through which an index is written to."""


def unfit_field(name: str, *, beside: Iterable[str], is_serverless: bool) -> str | None:
    """Why no document of an index can have a metadata field of that name; None where it can.

    beside: the other columns of the output.
    """
    ours = {"split", "generation"} if is_serverless else {"split"}
    if name in ours:
        return f"every document of such an index has a field {name} of our own"
    if _SERVERS_OWN.fullmatch(name):
        return f"{name} is the server's own"
    parts = name.split(".")
    if not all(part.strip() for part in parts):
        return "a dot makes a field within a field, and needs a name on either side"
    outer = {".".join(parts[:end]) for end in range(1, len(parts))} & {*beside, *ours}
    if outer:
        return f"a dot makes a field within a field, and {min(outer)} is a field of its own"
    return None


class BulkSpec(Section):
    """How rows are sent. Nothing here changes what is in the index."""

    max_mib: float = Field(
        8, gt=0, le=100, description="MiB of one bulk request; halved where the server refuses it."
    )
    max_concurrency: int = Field(
        8, ge=1, le=256, description="Bulk requests under way at a time, from one machine, at most."
    )
    timeout_s: float = Field(60, gt=0, description="Seconds that one request may take.")
    deadline_s: float = Field(
        900,
        gt=0,
        description="Seconds without a single row acknowledged after which the load is given up; "
        "what was acknowledged stays, and the next run goes on.",
    )


class GraphSpec(Section):
    """The index's nearest-neighbour graph (HNSW)."""

    engine: Literal["faiss", "lucene"] = Field("faiss", description="The library that searches.")
    storage: Literal["float32", "float16", "byte", "on_disk"] = Field(
        "float32",
        description="float16 halves the memory (faiss). byte keeps a quarter, and needs vectors of "
        "length 1. on_disk keeps a compressed graph in memory and rescores from disk.",
    )
    compression: Literal["2x", "4x", "8x", "16x", "32x"] | None = Field(
        None, description="Of storage: on_disk; unset: 32x. 4x is built by lucene."
    )
    m: int = Field(16, ge=2, le=512, description="Edges of a node: recall against memory.")
    ef_construction: int = Field(
        100, ge=2, le=10000, description="Candidates looked at when a node is added."
    )
    ef_search: int = Field(100, ge=1, le=10000, description="Candidates looked at by a search.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.compression is not None and self.storage != "on_disk":
            raise ValueError("compression belongs to storage: on_disk")
        if self.storage == "float16" and self.engine != "faiss":
            raise ValueError("storage: float16 needs engine: faiss")
        if self.storage == "on_disk" and (self.compression == "4x") != (self.engine == "lucene"):
            raise ValueError("on_disk is built by faiss, but compression: 4x by lucene")
        return self


class OpenSearchOutput(Section):
    """Vectors in an OpenSearch index, loaded from the Parquet output beside it."""

    url: str = Field(min_length=1, description="https:// of the domain or Serverless collection.")
    alias: str | None = Field(
        None,
        pattern=_INDEX_NAME,
        description="The name that searches use, in lower-case letters, digits, - _ and dots. "
        "`embed-job promote` points it to a new index once that has passed every check.",
    )
    index: str | None = Field(
        None,
        pattern=_INDEX_NAME,
        description="The index itself; unset: ALIAS-FINGERPRINT-GENERATION, so that another model "
        "or chunking gets an index of its own.",
    )
    generation: int = Field(
        1,
        ge=1,
        le=999,
        description="Of the index's name; raise it for a new index of the same model and "
        "chunking, as for another graph.",
    )
    promote: Literal["manual", "auto"] = Field(
        "manual",
        description="auto: a run, or the host that ends a job, points the alias to an index that "
        "passes every gate. manual: `embed-job promote` does.",
    )
    keep_indexes: int = Field(
        2,
        ge=2,
        le=100,
        description="Indexes of the alias that stay, the live one included; a promotion deletes "
        "older ones that it had before.",
    )
    auth: Literal["auto", "none", "basic", "sigv4"] = Field(
        "auto",
        description="auto: basic where secret_arn is set, sigv4 for other domains and collections "
        "of AWS, else none.",
    )
    secret_arn: str | None = Field(
        None,
        description="Secrets Manager's ARN of a JSON secret with username and password, "
        "for auth: basic.",
    )
    region: str | None = Field(None, description="For sigv4; unset: the one in the url.")
    service: Literal["auto", "es", "aoss"] = Field(
        "auto", description="es: a domain. aoss: Serverless. auto: as the url says, else es."
    )
    ca_bundle: Path | None = Field(
        None, description="PEM file of the authorities that may sign the server's certificate."
    )
    graph: GraphSpec = GraphSpec()
    shards: int = Field(1, ge=1, le=1024, description="Primary shards of a new index.")
    replicas: int = Field(1, ge=0, le=10, description="Copies of each shard, once it is loaded.")
    bulk: BulkSpec = BulkSpec()
    gates: GateSpec = GateSpec()

    @field_validator("url")
    @classmethod
    def _encrypted(cls, value: str) -> str:
        try:
            parts, port = urlsplit(value), urlsplit(value).port
        except ValueError:
            raise ValueError("is no https:// address of a server") from None
        if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
            raise ValueError("is no https:// address of a server")
        if parts.username or parts.password:
            raise ValueError("holds a password: put it into Secrets Manager and name secret_arn")
        if parts.query or parts.fragment:
            raise ValueError("holds more than a server's address")
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise ValueError("http:// is for a server on this machine alone; use https://")
        return value.rstrip("/")

    @field_validator("secret_arn")
    @classmethod
    def _no_password(cls, value: str | None) -> str | None:
        if value is not None and not _IN_SECRETS_MANAGER.fullmatch(value):
            # What stands here may be the password itself: it is not repeated.
            raise ValueError("is no ARN such as arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME")
        return value

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.alias is None and self.index is None:
            raise ValueError("needs alias, the name that searches use (or index, or both)")
        if self.alias is not None and self.alias == self.index:
            raise ValueError("alias and index can't have the same name: leave index out")
        if self.index is not None and self.alias == f"{self.index}{WRITE_SUFFIX}":
            raise ValueError(f"alias can't be {self.alias}: loads of {self.index} write to that")
        if self.index is not None and self.generation != 1:
            raise ValueError("generation is part of the name that index replaces: leave one out")
        if self.alias is None and self.promote == "auto":
            raise ValueError("promote: auto needs alias, the name that searches use")
        return self

    @model_validator(mode="after")
    def _signed(self) -> Self:
        if (self.auth == "basic") != (self.secret_arn is not None) and self.auth != "auto":
            raise ValueError("auth: basic and secret_arn go together")
        if self.auth_in_force == "sigv4" and self.region_in_force is None:
            raise ValueError("auth: sigv4 needs region, as the url names none")
        if self._on_aws is not None:
            service, region = self._on_aws
            if self.auth_in_force == "sigv4" and self.region_in_force != region:
                raise ValueError(f"region is {self.region}, and the url's is {region}")
            if self.service not in ("auto", service):
                raise ValueError(f"service is {self.service}, and the url's is {service}")
        if self.is_serverless and self.auth_in_force == "basic":
            raise ValueError("Serverless takes auth: sigv4 alone")
        return self

    @property
    def host(self) -> str:
        """The server's name."""
        return urlsplit(self.url).hostname or ""

    @property
    def on_aws(self) -> bool:
        """Whether the server is AWS's own, by its name."""
        return self._on_aws is not None

    @property
    def _on_aws(self) -> tuple[str, str] | None:
        """Service and region, where the url is AWS's own."""
        found = _AWS_HOST.search(self.host) or _AWS_DUAL_STACK.search(self.host)
        if found is None:
            return None
        return "aoss" if found["service"] == "aoss" else "es", found["region"]

    @property
    def is_loopback(self) -> bool:
        """Whether the server is on this machine."""
        return self.host in _LOOPBACK

    @property
    def in_vpc(self) -> bool:
        """Whether it is a domain that is reached from within its VPC alone, by its name."""
        return self.on_aws and self.host.startswith("vpc-")

    @property
    def auth_in_force(self) -> Literal["none", "basic", "sigv4"]:
        """What auth: auto comes to."""
        if self.auth != "auto":
            return self.auth
        if self.secret_arn is not None:
            return "basic"
        return "sigv4" if self.on_aws else "none"

    @property
    def region_in_force(self) -> str | None:
        """The region that requests are signed for."""
        return self.region or (self._on_aws[1] if self._on_aws else None)

    @property
    def is_serverless(self) -> bool:
        """Whether it is a Serverless collection, which has a tier of delivery of its own."""
        if self.service != "auto":
            return self.service == "aoss"
        return self._on_aws is not None and self._on_aws[0] == "aoss"
