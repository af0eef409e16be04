"""An S3 server for the whole session, a bucket a test, and a proxy that breaks connections."""

from __future__ import annotations

import importlib.util
import os
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
def faults() -> ModuleType:
    """The module fault_proxy.py, for its Fault and Kind."""
    path = Path(__file__).with_name("fault_proxy.py")
    spec = importlib.util.spec_from_file_location("fault_proxy", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


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
