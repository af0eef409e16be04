"""An S3 server for the whole session, a bucket a test, and a proxy that breaks connections."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_REGION": "us-east-1",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """URL of a moto server that lives as long as the session."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    # Few keys a page, so that a listing of any size goes over several.
    environment = os.environ | {"MOTO_S3_DEFAULT_MAX_KEYS": "25"}
    server = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(server, port)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=10)


def _wait_for(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RuntimeError(f"the moto server exited with {server.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("the moto server did not start within 60 s")


@pytest.fixture
def s3_bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a fresh bucket; this process and its children find it by their environment."""
    for name, value in (_ENVIRONMENT | {"AWS_ENDPOINT_URL": s3_endpoint}).items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    bucket = f"test-{uuid.uuid4().hex[:12]}"
    request = urllib.request.Request(f"{s3_endpoint}/{bucket}", method="PUT")  # noqa: S310
    with urllib.request.urlopen(request):  # noqa: S310 - moto asks for no signature
        pass
    return bucket


@pytest.fixture(scope="session")
def image() -> str:
    """The CPU image that `make image` built: EMBED_JOB_IMAGE, or embed-job:cpu."""
    name = os.environ.get("EMBED_JOB_IMAGE") or "embed-job:cpu"
    found = shutil.which("docker") and subprocess.run(
        ["docker", "image", "inspect", name], check=False, capture_output=True
    )
    if not found or found.returncode:
        reason = f"there is no image {name}: NOTHING is tested in a real container; run make image"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return name


@pytest.fixture(scope="session")
def image_host() -> ModuleType:
    """The module image_host.py, to run the image."""
    return _load("image_host")


def _load(name: str) -> ModuleType:
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def faults() -> ModuleType:
    """The module fault_proxy.py, for its Fault and Kind."""
    return _load("fault_proxy")


@pytest.fixture(scope="session")
def registry_module() -> ModuleType:
    """The module image_registry.py: a registry for docker to push to."""
    return _load("image_registry")


@pytest.fixture(scope="session")
def session_proxy(s3_endpoint: str, faults: ModuleType) -> Iterator[Any]:
    with faults.fault_proxy(s3_endpoint) as proxy:
        yield proxy


@pytest.fixture
def fault_proxy(session_proxy: Any, s3_bucket: str) -> Iterator[Any]:
    """A FaultProxy before the S3 server, nothing broken yet; append to its `faults`."""
    session_proxy.seen.clear()
    session_proxy.faults.clear()
    yield session_proxy
    session_proxy.faults.clear()


@pytest.fixture(scope="session")
def session_recorder(s3_endpoint: str) -> Iterator[Any]:
    with _load("aws_recorder").aws_recorder(s3_endpoint) as recorder:
        yield recorder


@pytest.fixture
def aws(session_recorder: Any, s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An Aws of aws_recorder.py before the moto server: every call of this process and its
    children goes through it, those that would leave the machine over TLS as well."""
    session_recorder.clear()
    for name in ("AWS_ENDPOINT_URL", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, session_recorder.url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    return session_recorder


@pytest.fixture(scope="session")
def iam_rules() -> ModuleType:
    """The module iam_rules.py, to say which calls a policy allows."""
    return _load("iam_rules")


@pytest.fixture
def corpus_in_s3(aws: Any, s3_bucket: str) -> str:
    """s3:// folder of five small files."""
    import boto3

    client = boto3.client("s3")
    for number in range(5):
        lines = [
            f'{{"id": "{number}-{line}", "text": "Document {line} of file {number}."}}\n'
            for line in range(20)
        ]
        client.put_object(Bucket=s3_bucket, Key=f"in/docs/{number}.jsonl", Body="".join(lines))
    client.close()
    aws.calls.clear()
    return f"s3://{s3_bucket}/in/docs/"


@pytest.fixture
def cloud_spec(corpus_in_s3: str, s3_bucket: str, tiny_bundle: Path, tmp_path: Path) -> Path:
    """A spec for SageMaker over corpus_in_s3, as a file; its name is the bucket's, for all tests
    share the server's jobs."""
    path = tmp_path / "cloud.yaml"
    path.write_text(f"""\
name: {s3_bucket}
input: {{uri: {corpus_in_s3}}}
model: {{bundle: {tiny_bundle}}}
outputs:
  - parquet: {{uri: s3://{s3_bucket}/out/vectors/}}
compute:
  instance_type: ml.c7i.xlarge
  instance_count: 3
  image_uri: 123456789012.dkr.ecr.us-east-1.amazonaws.com/embed-job@sha256:{"0" * 64}
  role_arn: arn:aws:iam::123456789012:role/embed-job
  price_per_hour_usd: 0.2142
  tokens_per_s: 5000
  max_cost_usd: 50
""")
    return path
