"""A Serverless vector collection, as documented, made of a real server.

Only the operations that "Supported operations and plugins in Amazon OpenSearch Serverless" lists
are there, the rest is answered 404; index operations with an ``_id`` or a version are refused one
by one; searches see writes when the collection's own timer says so, which nobody may change; a
request over 10 MiB is refused. Real documents, real searches; what it can't show is a service
that behaves otherwise than it is documented.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import orjson

from tests.opensearch.proxy import (
    Act,
    Answer,
    Forward,
    Operation,
    Proxy,
    Request,
    Rule,
    running_proxy,
)

REFRESH = "400ms"
MAX_BYTES = 10 * 2**20
NO_ID = "Document ID is not supported in create/index operation request"
_INDEX = r"/[^_/][^/]*"
_OPERATIONS = [
    rf"(PUT|GET|HEAD|DELETE) {_INDEX}",
    rf"(PUT|GET) {_INDEX}/_mappings?",
    rf"(PUT|GET) {_INDEX}/_settings?(/.*)?",
    rf"POST ({_INDEX})?/_bulk",
    rf"POST {_INDEX}/_doc",
    rf"(GET|HEAD|DELETE) {_INDEX}/_doc/.+",
    rf"(GET|POST) ({_INDEX})?/(_search|_msearch|_mget|_count|_field_caps)",
    rf"POST {_INDEX}/_search/point_in_time",
    r"DELETE /_search/point_in_time(/_all)?",
    rf"(GET|HEAD) ({_INDEX})?/_alias(/.*)?",
    r"POST /_aliases",
    rf"(PUT|DELETE) {_INDEX}/_alias/.+",
    r"GET /_cat/(indices|aliases).*",
    rf"GET /_resolve/index{_INDEX}",
]
_LISTED = re.compile("|".join(f"(?:{operation})" for operation in _OPERATIONS))
_FIXED = re.compile(rb"refresh_interval|number_of_(shards|replicas)")
_JSON = {"content-type": "application/json; charset=UTF-8"}


@dataclass(frozen=True, slots=True)
class Collection:
    """proxy: where clients connect to, and what has passed."""

    proxy: Proxy

    @property
    def url(self) -> str:
        return self.proxy.url

    def fault(self, act: Act, *, times: int = 1) -> None:
        """What happens to the next bulks; what it lets through still meets the collection."""

        async def wrapped(request: Request, forward: Forward) -> Answer | None:
            return await act(request, lambda passed: _serve(passed, forward))

        self.proxy.rules.insert(len(self.proxy.rules) - 1, Rule(wrapped, times=times))


@contextmanager
def serverless_stand_in(server_url: str) -> Iterator[Collection]:
    """A collection before a real server."""
    with running_proxy(server_url) as proxy:
        proxy.rules.append(Rule(_serve, where=_always, times=None))
        yield Collection(proxy)


def _always(request: Request) -> bool:
    return True


async def _serve(request: Request, forward: Forward) -> Answer:
    path, _, query = request.target.partition("?")
    if not _LISTED.fullmatch(f"{request.method} {path}"):
        return Answer(404, b"", _JSON)
    if len(request.body) > MAX_BYTES:
        return Answer(413, b'{"message": "Request size exceeded 10485760 bytes"}', _JSON)
    if "refresh=" in query or (request.method == "PUT" and _FIXED.search(request.body)):
        return _refused("the service refreshes, and sets shards and replicas")
    if request.is_bulk:
        return await _serve_bulk(request, forward)
    if request.method == "PUT" and path.count("/") == 1:
        body = orjson.loads(request.body)
        body.setdefault("settings", {})["index.refresh_interval"] = REFRESH
        request = replace(request, body=orjson.dumps(body))
    return await forward(request)


async def _serve_bulk(request: Request, forward: Forward) -> Answer:
    """Apply what a collection takes, with the refusals of the rest in their places."""
    operations = request.operations()
    taken = [one for one in operations if not _names_a_document(one)]
    parsed: dict[str, Any] = {"took": 0, "errors": True, "items": []}
    if taken:
        answer = await forward(replace(request, body=b"".join(one.lines for one in taken)))
        if answer.status != 200:
            return answer
        parsed = orjson.loads(answer.body)
    if len(taken) < len(operations):
        applied = iter(parsed["items"])
        items = [_item(one) if _names_a_document(one) else next(applied) for one in operations]
        parsed |= {"errors": True, "items": items}
    return Answer(200, orjson.dumps(parsed), _JSON)


def _names_a_document(operation: Operation) -> bool:
    """Whether it is one that a vector collection refuses."""
    if operation.verb == "delete":
        return False
    action = orjson.loads(operation.lines.partition(b"\n")[0])[operation.verb]
    return operation.verb == "update" or bool({"_id", "version", "version_type"} & action.keys())


def _item(operation: Operation) -> dict[str, Any]:
    error = {"type": "illegal_argument_exception", "reason": NO_ID}
    return {operation.verb: {"_id": operation.id, "status": 400, "error": error}}


def _refused(reason: str) -> Answer:
    error = {"type": "illegal_argument_exception", "reason": reason}
    return Answer(400, orjson.dumps({"error": error, "status": 400}), _JSON)
