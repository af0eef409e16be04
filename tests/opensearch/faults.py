"""What may happen to a request in the proxy: each function here gives an act for a rule."""

from __future__ import annotations

import asyncio
import threading
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson

from tests.opensearch.proxy import Act, Answer, Forward, Operation, Request

HTML = b"<html><head><title>oops</title></head><body>a gateway's page</body></html>"
_JSON = {"content-type": "application/json; charset=UTF-8"}
_REASONS = {
    429: ("opensearch_rejected_execution_exception", "rejected execution of primary operation"),
    503: ("unavailable_shards_exception", "primary shard is not active"),
}


def refuse(status: int) -> Act:
    """Answer with a gateway's page, even with 200; the server hears nothing."""

    async def act(request: Request, forward: Forward) -> Answer:
        return Answer(status, HTML, {"content-type": "text/html"})

    return act


def reset_before() -> Act:
    """Reset the connection; the server hears nothing."""

    async def act(request: Request, forward: Forward) -> None:
        return None

    return act


def reset_after() -> Act:
    """The server applies it; instead of its answer, the client sees the connection reset."""

    async def act(request: Request, forward: Forward) -> None:
        await forward(request)

    return act


def apply_late(after_s: float) -> Act:
    """The server gets it only so much later, whether or not the client still waits."""

    async def act(request: Request, forward: Forward) -> Answer:
        await asyncio.sleep(after_s)
        return await forward(request)

    return act


def alter(change: Callable[[bytes], bytes]) -> Act:
    """The server applies it; the client gets a changed answer."""

    async def act(request: Request, forward: Forward) -> Answer:
        answer = await forward(request)
        return replace(answer, body=change(answer.body))

    return act


def half(body: bytes) -> bytes:
    """For alter: the first half of the JSON."""
    return body[: len(body) // 2]


Change = Callable[[list[Any]], list[Any]]


def change_items(change: Change) -> Act:
    """As alter, of the items of a bulk answer."""

    def changed(body: bytes) -> bytes:
        parsed = orjson.loads(body)
        return orjson.dumps({**parsed, "items": change(parsed["items"])})

    return alter(changed)


def with_wrong_id(items: list[Any]) -> list[Any]:
    """For change_items: the last item names a document that was not sent."""
    ((verb, result),) = items[-1].items()
    return [*items[:-1], {verb: {**result, "_id": "somebody-else"}}]


def too_large(limit_bytes: int) -> Act:
    """413 for any larger body; the server hears nothing of it."""

    async def act(request: Request, forward: Forward) -> Answer:
        if len(request.body) > limit_bytes:
            return Answer(413, b"", {})
        return await forward(request)

    return act


def refuse_items(chosen: Callable[[Operation], bool], status: int) -> Act:
    """Refuse the chosen operations and let the server apply the others.

    The answer is spliced together in the order of the request.
    """

    async def act(request: Request, forward: Forward) -> Answer:
        refused = [chosen(one) for one in request.operations()]
        pairs = list(zip(request.operations(), refused, strict=True))
        kept = b"".join(one.lines for one, out in pairs if not out)
        answer = await forward(replace(request, body=kept)) if kept else Answer(200, b"{}", _JSON)
        if answer.status != 200:
            return answer
        parsed = orjson.loads(answer.body)
        applied = iter(parsed.get("items", ()))
        items = [_refused(one, status) if out else next(applied) for one, out in pairs]
        errors = bool(parsed.get("errors")) or any(refused)
        body = {"took": parsed.get("took", 0), "errors": errors, "items": items}
        return replace(answer, body=orjson.dumps(body))

    return act


def _refused(operation: Operation, status: int) -> dict[str, Any]:
    kind, reason = _REASONS[status]
    error = {"type": kind, "reason": reason}
    return {operation.verb: {"_id": operation.id, "status": status, "error": error}}


def spoil(*ids: str) -> Act:
    """Damage the vectors of these rows on their way, so that the server itself refuses them."""

    async def act(request: Request, forward: Forward) -> Answer:
        lines = [
            one.lines.replace(b'"vector":[', b'"vector":["no number",')
            if one.id in ids
            else one.lines
            for one in request.operations()
        ]
        return await forward(replace(request, body=b"".join(lines)))

    return act


def share(fraction: float) -> Callable[[Operation], bool]:
    """For refuse_items: the first time that one of this share of the ids comes by, by hash."""
    met: set[str] = set()

    def chosen(operation: Operation) -> bool:
        first = operation.id not in met
        met.add(operation.id)
        return first and zlib.crc32(operation.id.encode()) < fraction * (1 << 32)

    return chosen


def named(*ids: str) -> Callable[[Operation], bool]:
    """For refuse_items: those documents, whenever they come by."""
    return lambda operation: operation.id in ids


def expired_unless(key: Callable[[], str]) -> Act:
    """403 of an expired token for requests that are not signed with the key in force."""

    async def act(request: Request, forward: Forward) -> Answer:
        if f"Credential={key()}/" in request.headers.get("authorization", ""):
            return await forward(request)
        told = {"message": "The security token included in the request is expired"}
        return Answer(
            403, orjson.dumps(told), {**_JSON, "x-amzn-errortype": "ExpiredTokenException"}
        )

    return act


class Gate:
    """Holds requests back until it is opened, before the server hears of them or after."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self.holding = 0

    def open(self) -> None:
        self._open.set()

    def before(self) -> Act:
        async def act(request: Request, forward: Forward) -> Answer:
            await self._wait()
            return await forward(request)

        return act

    def after(self) -> Act:
        async def act(request: Request, forward: Forward) -> Answer:
            answer = await forward(request)
            await self._wait()
            return answer

        return act

    async def _wait(self) -> None:
        self.holding += 1
        while not self._open.is_set():
            await asyncio.sleep(0.005)
        self.holding -= 1
