"""An HTTP proxy before an S3 server, that breaks what it is told to, in order and countably.

It also makes up for two things that moto lacks: it refuses a body that does not match the
checksum sent along, and lets conditional writes through one at a time.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_CONDITIONS = {"if-match", "if-none-match"}


class Kind(Enum):
    STATUS = "answer with status and code, without asking the server"
    RESET_BEFORE = "close the connection before the server hears of the request"
    RESET_AFTER = "let the server apply the request, then close the connection without an answer"
    TRUNCATE = "send `bytes` of the answer's body, then close the connection"
    CORRUPT = "flip a bit of the request's body on its way"


@dataclass
class Fault:
    """method and part (a substring of path and query) say which requests; times, how many."""

    kind: Kind
    method: str
    part: str = ""
    times: int = 1
    status: int = 503
    code: str = "SlowDown"
    bytes: int = 0


@dataclass
class Seen:
    method: str
    target: str
    headers: dict[str, str]


@dataclass
class FaultProxy:
    """url: where to send requests. faults: what is still to go wrong. seen: what was asked."""

    url: str
    upstream: str
    faults: list[Fault] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    conditional_writes: threading.Lock = field(default_factory=threading.Lock)

    def take(self, request: Seen) -> Fault | None:
        """Note the request; the fault it meets, if any."""
        with self.lock:
            self.seen.append(request)
            for fault in self.faults:
                if fault.times and fault.method == request.method and fault.part in request.target:
                    fault.times -= 1
                    return fault
        return None

    def count(self, method: str) -> int:
        return sum(request.method == method for request in self.seen)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: FaultProxy

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = Seen(self.command, self.path, {k.lower(): v for k, v in self.headers.items()})
        fault = self.proxy.take(request)
        kind = fault.kind if fault else None
        if fault and kind is Kind.STATUS:
            return self._refuse(fault.status, fault.code)
        if kind is Kind.RESET_BEFORE:
            return self._reset()
        if kind is Kind.CORRUPT:
            body = bytes([body[0] ^ 1]) + body[1:]
        if not _checksum_holds(request.headers, body):
            return self._refuse(400, "BadDigest")
        status, headers, answer = self._forward(request, body)
        if kind is Kind.RESET_AFTER:
            return self._reset()
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in {"connection", "transfer-encoding", "date", "server"}:
                self.send_header(name, value)
        if not any(name.lower() == "content-length" for name, _ in headers):
            self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        if fault and kind is Kind.TRUNCATE:
            self.wfile.write(answer[: fault.bytes])
            return self._reset(abruptly=False)
        self.wfile.write(answer)
        return None

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve  # noqa: N815

    def _forward(self, request: Seen, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        address = urlsplit(self.proxy.upstream)
        upstream = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
        headers = {k: v for k, v in request.headers.items() if k not in {"expect", "connection"}}
        if request.method == "PUT" and not request.headers.keys().isdisjoint(_CONDITIONS):
            with self.proxy.conditional_writes:
                upstream.request(request.method, request.target, body, headers)
                answer = upstream.getresponse()
                content = answer.read()
        else:
            upstream.request(request.method, request.target, body, headers)
            answer = upstream.getresponse()
            content = answer.read()
        upstream.close()
        return answer.status, answer.getheaders(), content

    def _refuse(self, status: int, code: str) -> None:
        body = f"<Error><Code>{code}</Code><Message>injected</Message></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/xml")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _reset(self, *, abruptly: bool = True) -> None:
        self.close_connection = True
        self.wfile.flush()
        if abruptly:
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()

    def log_message(self, *_: object) -> None:
        return


def _checksum_holds(headers: dict[str, str], body: bytes) -> bool:
    sent = headers.get("x-amz-checksum-sha256")
    return sent is None or sent == base64.b64encode(hashlib.sha256(body).digest()).decode()


@contextmanager
def fault_proxy(upstream: str) -> Iterator[FaultProxy]:
    """A running proxy before the server at `upstream`."""

    class Handler(_Handler):
        pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    Handler.proxy = FaultProxy(f"http://127.0.0.1:{server.server_port}", upstream)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield Handler.proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
