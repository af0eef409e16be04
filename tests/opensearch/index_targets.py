"""Indexes of a few rows, and clients that fail where a test wants them to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from opensearchpy import OpenSearch, Urllib3HttpConnection

from embed_job.manifest import DatasetDescriptor
from embed_job.opensearch.target import IndexTarget
from embed_job.spec.opensearch import OpenSearchOutput

DIMENSION = 8


def target_of(
    url: str, index: str | None, *, fingerprint: str = "f", **options: Any
) -> IndexTarget:
    """A target whose alias is the index's name and -live; options: the OpenSearch output's.

    index: None: named by alias, fingerprint and generation.
    """
    plain = {
        "url": url,
        "index": index,
        "alias": f"{index}-live",
        "graph": {"engine": "lucene"},
        "replicas": 0,
    }
    dataset = DatasetDescriptor(
        name="kb",
        input_uri="in",
        fingerprint=fingerprint * 64,
        model_fingerprint="a" * 64,
        bundle="bundle",
        engine="null",
        precision="fp32",
        prompt="",
        dimension=DIMENSION,
        normalized=True,
        max_tokens=64,
        vector_type="float32",
        text=True,
        columns={"language": "string", "meta.url": "string", "at": "timestamp"},
        created_at=0.0,
    )
    return IndexTarget(OpenSearchOutput.model_validate(plain | options), dataset)


def fill(client: OpenSearch, target: IndexTarget, *, rows: int = 20, first: int = 0) -> None:
    """Send rows as a load does."""
    vectors = np.random.default_rng(first).standard_normal((rows, DIMENSION)).astype(np.float32)
    lines: list[dict[str, Any]] = []
    for number, vector in enumerate(vectors, first):
        lines.append({"index": {"_id": f"d{number}", "version": 1, "version_type": "external_gte"}})
        lines.append(
            {
                "doc_id": f"d{number}",
                "chunk": 0,
                "char_start": 0,
                "char_end": 9,
                "n_tokens": 3,
                "content_hash": "0" * 32,
                "split": "0" * 16,
                "text": "some text",
                "language": "en",
                "meta.url": "https://example.org/",
                "at": "2026-01-01T00:00:00Z",
                "vector": [float(value) for value in vector],
            }
        )
    answer = client.bulk(body=lines, index=target.write_name, params={"require_alias": "true"})
    assert not answer["errors"], answer


class Killed(BaseException):
    """The end of the process, at a request."""


def client_with(
    url: str,
    fault: Callable[[int, str, str], None] | None = None,
    *,
    refuse: Callable[[str, Any], None] | None = None,
) -> OpenSearch:
    """A client of one try that meets what a test wants it to.

    fault: gets number, method and path of each request once the server has answered it, and
    raises what the client is to meet instead. refuse: gets path and body before that, likewise.
    """
    count = 0

    class Faulty(Urllib3HttpConnection):
        def perform_request(
            self, method: str, url: str, params: Any = None, body: Any = None, **named: Any
        ) -> Any:
            nonlocal count
            count += 1
            if refuse is not None:
                refuse(url, body)
            answer = super().perform_request(method, url, params, body, **named)
            if fault is not None:
                fault(count, method, url)
            return answer

    return OpenSearch(url, connection_class=Faulty, max_retries=0, timeout=60)
