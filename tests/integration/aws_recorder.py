"""An HTTP proxy before a moto server that notes every AWS call, and plays what moto does not.

moto's processing jobs are over at once. Here a test says how a job stands, call by call, and what
a service refuses. Whatever wants to leave the machine over TLS ends here too, and is noted.
"""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

RUNNING = {"InProgress", "Stopping"}


@dataclass
class Call:
    """One request. operation: as AWS names it; request: of JSON and query services, its fields;
    of S3, bucket, key and query."""

    service: str
    operation: str
    request: dict[str, Any]
    status: int = 0


@dataclass
class Aws:
    """url: for AWS_ENDPOINT_URL. calls: what was asked. jobs: statuses of a job, the last of which
    stays. facts: further fields of its description. refusals: by operation, code and
    message. bucket_regions: what S3 says beside its answers."""

    url: str
    upstream: str
    calls: list[Call] = field(default_factory=list)
    jobs: dict[str, list[str]] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    refusals: dict[str, list[tuple[int, str, str]]] = field(default_factory=dict)
    bucket_regions: dict[str, str] = field(default_factory=dict)

    def made(self, service: str) -> list[str]:
        """Operations of a service, in order."""
        return [call.operation for call in self.calls if call.service == service]

    def clear(self) -> None:
        for kept in (self.calls, self.jobs, self.facts, self.refusals, self.bucket_regions):
            kept.clear()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    aws: Aws

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        call = self._call(body)
        self.aws.calls.append(call)
        refused = self.aws.refusals.get(call.operation)
        if refused:
            status, code, message = refused[0] if len(refused) == 1 else refused.pop(0)
            if code:
                return self._refuse(call, status, code, message)
        status, headers, answer = self._forward(body)
        if call.service == "sagemaker" and status == 200:
            answer = self._play(call, answer)
        call.status = status
        self.send_response(status)
        own = {"connection", "transfer-encoding"}
        if self.command != "HEAD":
            own |= {"content-length"}
            self.send_header("Content-Length", str(len(answer)))
        for name, value in headers:
            if name.lower() not in own:
                self.send_header(name, value)
        region = self.aws.bucket_regions.get(call.request.get("bucket", ""))
        if region and call.operation == "ListObjectsV2":
            self.send_header("x-amz-bucket-region", region)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)
        return None

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve  # noqa: N815

    def do_CONNECT(self) -> None:
        """A call to a host outside, which nothing here should make."""
        self.aws.calls.append(Call("outside", self.path, {}))
        self.send_error(403)

    def _call(self, body: bytes) -> Call:
        scope = self.headers.get("Authorization", "").partition("Credential=")[2]
        service = scope.split("/")[3] if scope.count("/") >= 4 else "?"
        target = self.headers.get("X-Amz-Target")
        if target:
            return Call(service, target.rpartition(".")[2], json.loads(body or b"{}"))
        if self.headers.get("Content-Type", "").startswith("application/x-www-form-urlencoded"):
            fields = dict(parse_qsl(body.decode()))
            return Call(service, fields.pop("Action"), fields)
        if service == "scheduler":
            return self._scheduler_call(body)
        return self._s3_call(service)

    def _scheduler_call(self, body: bytes) -> Call:
        """By path and method: /schedules/NAME."""
        names = {"GET": "Get", "POST": "Create", "PUT": "Update", "DELETE": "Delete"}
        name = unquote(urlsplit(self.path).path).rpartition("/")[2]
        asked = {"Name": name} | json.loads(body or b"{}")
        return Call("scheduler", f"{names[self.command]}Schedule", asked)

    def _s3_call(self, service: str) -> Call:
        address = urlsplit(self.path)
        bucket, _, key = unquote(address.path).lstrip("/").partition("/")
        query = dict(parse_qsl(address.query, keep_blank_values=True))
        names = {"GET": "GetObject", "PUT": "PutObject", "DELETE": "DeleteObject"}
        operation = names.get(self.command, f"{self.command.title()}Object")
        if not key:
            operation = "ListObjectsV2" if self.command == "GET" else f"{self.command}Bucket"
        elif "uploads" in query or "uploadId" in query:
            operation = "PutObject" if self.command != "DELETE" else "AbortMultipartUpload"
        return Call(service, operation, {"bucket": bucket, "key": key, "query": query})

    def _play(self, call: Call, answer: bytes) -> bytes:
        """A moto answer with the statuses that the test has set."""
        found = json.loads(answer or b"{}")
        jobs = self.aws.jobs
        name = call.request.get("ProcessingJobName", "")
        if call.operation == "DescribeProcessingJob" and name in jobs:
            status = jobs[name][0] if len(jobs[name]) == 1 else jobs[name].pop(0)
            found |= {"ProcessingJobStatus": status} | self.aws.facts.get(name, {})
        elif call.operation == "StopProcessingJob" and name in jobs:
            jobs[name] = ["Stopping", "Stopped"]
        elif call.operation == "ListProcessingJobs":
            wanted = call.request.get("StatusEquals")
            part = call.request.get("NameContains", "")
            playing = [
                {
                    "ProcessingJobName": job,
                    "ProcessingJobArn": f"arn:aws:sagemaker:us-east-1:1:processing-job/{job}",
                    "CreationTime": 0,
                    "ProcessingJobStatus": statuses[0],
                }
                for job, statuses in jobs.items()
                if part in job and wanted == statuses[0]
            ]
            found["ProcessingJobSummaries"] += playing
        return json.dumps(found).encode()

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        address = urlsplit(self.aws.upstream)
        upstream = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
        headers = {
            name: value
            for name, value in self.headers.items()
            if name.lower() not in {"expect", "connection"}
        }
        upstream.request(self.command, self.path, body, headers)
        answer = upstream.getresponse()
        content = answer.read()
        upstream.close()
        return answer.status, answer.getheaders(), content

    def _refuse(self, call: Call, status: int, code: str, message: str) -> None:
        if call.service == "s3":
            body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
        elif call.service in {"sts", "iam"}:
            inner = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
            body = f"<ErrorResponse>{inner}</ErrorResponse>".encode()
        else:
            body = json.dumps({"__type": code, "message": message}).encode()
        call.status = status
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def aws_recorder(upstream: str) -> Iterator[Aws]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    aws = Aws(f"http://127.0.0.1:{server.server_port}", upstream)
    server.RequestHandlerClass = type("Handler", (_Handler,), {"aws": aws})
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield aws
    finally:
        server.shutdown()
        server.server_close()
