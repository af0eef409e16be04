"""AWS on this machine: a moto server in this process, whose listings can be made to lie."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import boto3
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

REGION = "us-east-1"
_CONDITIONS = ("HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH")
_ENTRY = re.compile(rb"<Contents>.*?<Key>([^<]*)</Key>.*?</Contents>", re.DOTALL)
Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


@dataclass(slots=True)
class Aws:
    """url: of every service. hidden: keys that listings leave out, while they are there."""

    url: str
    hidden: set[str] = field(default_factory=set)

    @property
    def environment(self) -> dict[str, str]:
        """Of a process for which all of AWS is this."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return kept | {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self, service: str) -> Any:
        """A client that asks this, whatever the environment says."""
        session = boto3.Session("testing", "testing", region_name=REGION)
        return session.client(service, endpoint_url=self.url)  # type: ignore[call-overload]

    @property
    def s3(self) -> S3Client:
        client: S3Client = self.client("s3")
        return client


class _Quiet(MotoRequestHandler):
    """Says nothing of each request."""

    def log(self, *_: Any) -> None:
        return


@contextmanager
def running_aws() -> Iterator[Aws]:
    """The server, until the context ends."""
    aws = Aws("")
    application = _unreliable(DomainDispatcherApplication(create_backend_app), aws)
    server = make_server("127.0.0.1", 0, application, True, request_handler=_Quiet)
    aws.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield aws
    finally:
        server.shutdown()
        thread.join()


def _unreliable(application: Application, aws: Aws) -> Application:
    """Listings without what is hidden. Conditional writes go one at a time, as moto compares first
    and writes later."""
    turn = threading.Lock()

    def serve(request: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if any(name in request for name in _CONDITIONS) and request["REQUEST_METHOD"] == "PUT":
            with turn:
                return list(application(request, start_response))
        if "list-type=2" in request.get("QUERY_STRING", "") and aws.hidden:
            return _without_hidden(application, aws.hidden, request, start_response)
        return application(request, start_response)

    return serve


def _without_hidden(
    application: Application, hidden: set[str], request: dict[str, Any], start_response: Any
) -> list[bytes]:
    answered: list[Any] = []
    body = b"".join(application(request, lambda *answer: answered.extend(answer)))
    body = _ENTRY.sub(lambda entry: b"" if entry[1].decode() in hidden else entry[0], body)
    status, headers = answered[:2]
    length = ("Content-Length", str(len(body)))
    others = [header for header in headers if header[0].lower() != "content-length"]
    start_response(status, [*others, length])
    return [body]
