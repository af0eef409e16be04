"""An HTTP proxy between a client and an OpenSearch server, which breaks what it is told to.

The real client and the real server talk through it, over sockets. What goes wrong is said by
rules (:mod:`tests.opensearch.faults` has what they may do); nothing is left to chance, so a test
can say which request, or which documents, meet the fault. It notes all that it saw.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import orjson

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "host", "content-length"}
_HEAD_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Operation:
    """One of a bulk request. verb: index or delete; lines: as sent, the action's and, where
    there is one, the document's."""

    verb: str
    id: str
    lines: bytes


@dataclass(frozen=True, slots=True)
class Request:
    """As the client sent it. target: path and query; headers by lower-case name."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def is_bulk(self) -> bool:
        return self.target.partition("?")[0].endswith("/_bulk")

    def operations(self) -> list[Operation]:
        """Of a bulk request, in order."""
        lines = iter(self.body.splitlines(keepends=True))
        found = []
        for line in lines:
            ((verb, action),) = orjson.loads(line).items()
            document = b"" if verb == "delete" else next(lines)
            found.append(Operation(verb, action.get("_id", ""), line + document))
        return found


@dataclass(frozen=True, slots=True)
class Answer:
    """What the client is told."""

    status: int
    body: bytes
    headers: dict[str, str]


Forward = Callable[[Request], Awaitable[Answer]]
"""Has the server apply a request, and gives its answer."""

Act = Callable[[Request, Forward], Awaitable[Answer | None]]
"""What happens to a request that a rule is for; None: the connection is reset."""


def bulks(request: Request) -> bool:
    return request.is_bulk


@dataclass(slots=True)
class Rule:
    """act: what happens to requests that fit `where`, from the `skip`-th on, `times` times
    (None: always). A request meets the first rule that wants it."""

    act: Act
    where: Callable[[Request], bool] = bulks
    skip: int = 0
    times: int | None = 1

    def takes(self, request: Request) -> bool:
        """Whether it is this rule's; counts it."""
        if self.times == 0 or not self.where(request):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True


@dataclass(slots=True)
class Seen:
    """A request, and how it was answered. at, until: of the monotonic clock; status: None until
    it is answered, and where it was reset; reply: the answer's body."""

    request: Request
    at: float
    until: float | None = None
    status: int | None = None
    reply: bytes = b""


@dataclass(slots=True)
class Proxy:
    """url: where the client is to connect; rules: what goes wrong; seen: what has passed."""

    url: str
    upstream: str
    rules: list[Rule] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list, repr=False)

    def bulks(self) -> list[Seen]:
        """Every bulk request so far."""
        return [seen for seen in list(self.seen) if seen.request.is_bulk]

    def sent(self) -> list[str]:
        """The id of every operation so far, as often as it was sent."""
        return [one.id for seen in self.bulks() for one in seen.request.operations()]

    def most_at_once(self, *, since: float, until: float) -> int:
        """How many bulk requests were under way at a time, between two of the clock's times."""
        begun = [seen for seen in self.bulks() if since <= seen.at <= until]
        return max(
            (sum(_is_under_way(other, one.at) for other in self.bulks()) for one in begun),
            default=0,
        )

    def wait_for(self, condition: Callable[[], object], *, timeout_s: float = 60) -> None:
        """Until it holds; fails where it does not within the time."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "the proxy never saw what the test waits for"
            time.sleep(0.005)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of the client's, until either side closes it."""
        # Cancelled is what a connection is that the proxy's own end finds open.
        with suppress(ConnectionError, asyncio.CancelledError):
            while (request := await _read_request(reader)) is not None:
                seen = Seen(request, time.monotonic())
                self.seen.append(seen)
                rule = next((rule for rule in self.rules if rule.takes(request)), None)
                act = rule.act(request, self._forward) if rule else self._forward(request)
                answer = await act
                seen.until = time.monotonic()
                if answer is None:
                    # Without this it would be an orderly end; a reset is meant.
                    writer.transport.abort()
                    return
                seen.status, seen.reply = answer.status, answer.body
                await _write_answer(writer, answer, with_body=request.method != "HEAD")
        writer.close()

    async def _forward(self, request: Request) -> Answer:
        address = urlsplit(self.upstream)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        head = [f"{request.method} {request.target} HTTP/1.1", f"Host: {address.netloc}"]
        kept = request.headers.items()
        head += [f"{name}: {value}" for name, value in kept if name not in _HOP_BY_HOP]
        head += [f"Content-Length: {len(request.body)}", "Connection: close", "", ""]
        writer.write("\r\n".join(head).encode() + request.body)
        await writer.drain()
        try:
            first, headers = _parse_head(await reader.readuntil(b"\r\n\r\n"))
            body = await reader.read()
        finally:
            writer.close()
        kept_headers = {name: value for name, value in headers.items() if name not in _HOP_BY_HOP}
        return Answer(int(first.split(" ")[1]), body, kept_headers)


def _is_under_way(seen: Seen, at: float) -> bool:
    return seen.at <= at and (seen.until is None or seen.until > at)


async def _read_request(reader: asyncio.StreamReader) -> Request | None:
    try:
        first, headers = _parse_head(await reader.readuntil(b"\r\n\r\n"))
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    except asyncio.IncompleteReadError:
        return None
    method, target, _ = first.split(" ")
    return Request(method, target, headers, body)


def _parse_head(head: bytes) -> tuple[str, dict[str, str]]:
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return first, {name.lower(): value.strip() for name, _, value in pairs}


async def _write_answer(writer: asyncio.StreamWriter, answer: Answer, *, with_body: bool) -> None:
    lines = [f"HTTP/1.1 {answer.status} as said"]
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    lines += [f"content-length: {len(answer.body)}", "", ""]
    writer.write("\r\n".join(lines).encode("latin-1") + (answer.body if with_body else b""))
    await writer.drain()


@contextmanager
def running_proxy(upstream: str) -> Iterator[Proxy]:
    """A proxy before the server at `upstream`, in a thread of its own."""
    proxy = Proxy("", upstream)
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(
        asyncio.start_server(proxy.serve, "127.0.0.1", 0, limit=_HEAD_BYTES)
    )
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield proxy
    finally:
        asyncio.run_coroutine_threadsafe(_end(server), loop).result(timeout=30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end(server: asyncio.Server) -> None:
    """Close, and end what still holds a request back."""
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
