"""A registry for `docker login` and `docker push`: what the OCI distribution spec asks of one."""

from __future__ import annotations

import base64
import hashlib
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


@dataclass(slots=True)
class Store:
    """What was pushed. Blobs by digest, manifests by ``repository:tag``."""

    authorization: str
    refuse_manifests: bool = False
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store: Store

    def log_message(self, format: str, *args: object) -> None:
        """Silence."""

    def do_GET(self) -> None:
        if self.admitted():
            self.answer(200)

    def do_HEAD(self) -> None:
        if self.admitted():
            digest = self.path.rpartition("/")[2]
            content = self.store.blobs.get(digest)
            if content is None:
                self.answer(404)
            else:
                self.answer(200, {"Docker-Content-Digest": digest}, length=len(content))

    def do_POST(self) -> None:
        if self.admitted():
            self.body()
            name = uuid.uuid4().hex
            self.store.uploads[name] = b""
            self.went_on(f"{self.path.partition('?')[0].rstrip('/')}/{name}")

    def do_PATCH(self) -> None:
        if self.admitted():
            self.store.uploads[self.path.rpartition("/")[2]] += self.body()
            self.went_on(self.path)

    def do_PUT(self) -> None:
        if not self.admitted():
            return
        body = self.body()
        path = urlsplit(self.path)
        if "/manifests/" in path.path:
            if self.store.refuse_manifests:
                self.answer(403)
                return
            repository, _, tag = path.path.removeprefix("/v2/").partition("/manifests/")
            self.store.manifests[f"{repository}:{tag}"] = body
            digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        else:
            content = self.store.uploads.pop(path.path.rpartition("/")[2]) + body
            digest = parse_qs(path.query)["digest"][0]
            assert digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
            self.store.blobs[digest] = content
        self.answer(201, {"Docker-Content-Digest": digest})

    def admitted(self) -> bool:
        if self.headers.get("Authorization") == self.store.authorization:
            return True
        self.body()
        self.answer(401, {"WWW-Authenticate": 'Basic realm="test"'})
        return False

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def went_on(self, location: str) -> None:
        size = len(self.store.uploads[location.rpartition("/")[2]])
        upload = location.rpartition("/")[2]
        self.answer(
            202,
            {
                "Location": location,
                "Range": f"0-{max(0, size - 1)}",
                "Docker-Upload-UUID": upload,
            },
        )

    def answer(self, status: int, headers: dict[str, str] | None = None, length: int = 0) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        self.send_header("Content-Length", str(length))
        self.end_headers()


@contextmanager
def image_registry(user: str, password: str) -> Iterator[tuple[str, Store]]:
    """``127.0.0.1:port`` of a registry that admits one user, and its store."""
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    store = Store(authorization=f"Basic {token}")
    handler = type("Bound", (Handler,), {"store": store})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}", store
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)
