"""Who we are to a cluster, and that it is the right one: against servers that really check."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_plus, urlsplit

import boto3
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from moto.server import ThreadedMotoServer

from embed_job.errors import OutputError, SpecError
from embed_job.opensearch.client import connect
from embed_job.opensearch.errors import explained
from embed_job.spec.opensearch import OpenSearchOutput

Answer = Callable[[BaseHTTPRequestHandler, bytes], tuple[int, dict[str, Any] | bytes]]


@contextmanager
def serving(answer: Answer, *, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server on this machine; its address. Bytes are answered as a web page."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, plain = answer(self, body)
            page = isinstance(plain, bytes)
            data = plain if isinstance(plain, bytes) else json.dumps(plain).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/html" if page else "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = _answer  # noqa: N815 - the names that the base class calls

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def output(url: str, **options: Any) -> OpenSearchOutput:
    return OpenSearchOutput.model_validate({"url": url, "alias": "kb"} | options)


def said_by(spec: OpenSearchOutput) -> dict[str, Any]:
    """What the server answers to the simplest request."""
    with explained(spec.url), connect(spec) as client:
        found: dict[str, Any] = client.info()
        return found


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """No AWS credentials of this machine, wherever they might be."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


class Role:
    """A role's keys as a container gets them; the signature and age of those that sign."""

    def __init__(self, *, service: str) -> None:
        self.service = service
        self.issued = 0
        self.used: list[str] = []

    def issue(self, _handler: BaseHTTPRequestHandler, _body: bytes) -> tuple[int, dict[str, Any]]:
        self.issued += 1
        return 200, {
            "AccessKeyId": f"KEY{self.issued}",
            "SecretAccessKey": f"secret{self.issued}",
            "Token": f"token{self.issued}",
            # So near that botocore renews them before each use.
            "Expiration": (datetime.now(UTC) + timedelta(minutes=5)).isoformat(),
        }

    def accept(self, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict[str, Any]]:
        """A cluster at which a key has expired once it was used."""
        fields = dict(
            part.split("=", 1)
            for part in handler.headers["Authorization"].split(" ", 1)[1].split(", ")
        )
        key, day, region, service, _ = fields["Credential"].split("/")
        number = key.removeprefix("KEY")
        wanted = _signature(
            handler,
            body,
            names=fields["SignedHeaders"],
            scope=(f"secret{number}", day, region, self.service),
        )
        if service != self.service or fields["Signature"] != wanted:
            return 403, {"message": "The request signature we calculated does not match"}
        if key in self.used or handler.headers["X-Amz-Security-Token"] != f"token{number}":
            return 403, {"message": "The security token included in the request is expired"}
        self.used.append(key)
        return 200, {"key": key}


def _signature(
    handler: BaseHTTPRequestHandler, body: bytes, *, names: str, scope: tuple[str, str, str, str]
) -> str:
    """The signature that a request ought to have, by AWS's description of version 4."""
    secret, *rest = scope
    parts = urlsplit(handler.path)
    pairs = sorted(tuple(pair.split("=", 1)) for pair in parts.query.split("&") if pair)
    query = "&".join("=".join(quote(unquote_plus(text), safe="-_.~") for text in p) for p in pairs)
    headers = "".join(f"{name}:{handler.headers[name].strip()}\n" for name in names.split(";"))
    path = quote(parts.path, safe="/-_.~")
    digest = hashlib.sha256(body).hexdigest()
    request = "\n".join([handler.command, path, query, headers, names, digest])
    said = "\n".join(
        [
            "AWS4-HMAC-SHA256",
            handler.headers["X-Amz-Date"],
            "/".join([*rest, "aws4_request"]),
            hashlib.sha256(request.encode()).hexdigest(),
        ]
    )
    key = f"AWS4{secret}".encode()
    for text in (*rest, "aws4_request"):
        key = hmac.new(key, text.encode(), hashlib.sha256).digest()
    return hmac.new(key, said.encode(), hashlib.sha256).hexdigest()


@pytest.mark.parametrize("service", ["es", "aoss"])
def test_a_role_s_keys_are_renewed_while_a_load_runs(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 15: credentials expire mid-run."""
    role = Role(service=service)
    with serving(role.issue) as keys, serving(role.accept) as url:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{keys}/role")
        spec = output(url, auth="sigv4", region="eu-west-1", service=service)
        with connect(spec) as client:
            for _ in range(3):
                client.info()
                client.bulk(
                    body=b'{"index":{}}\n{"text":"\xc3\xbc"}\n',
                    index="kb-load",
                    params={"filter_path": "took,items.*._id", "require_alias": "true"},
                )
            client.get(index="kb", id="a b/ü#0")
    assert len(role.used) == len(set(role.used)) == 7


def test_keys_that_nobody_renews_are_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    role = Role(service="es")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "KEY1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret1")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token1")
    with serving(role.accept) as url:
        spec = output(url, auth="sigv4", region="eu-west-1")
        assert said_by(spec) == {"key": "KEY1"}
        with pytest.raises(OutputError, match="the AWS credentials have expired"):
            said_by(spec)


def test_a_wrong_service_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    role = Role(service="aoss")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "KEY1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret1")
    with serving(role.accept) as url, pytest.raises(OutputError, match="Check region and service"):
        said_by(output(url, auth="sigv4", region="eu-west-1", service="es"))


def test_a_role_that_can_t_be_reached_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda _handler, _body: (400, {"message": "no such role"})) as url:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{url}/role")
        with pytest.raises(OutputError, match="gave no credentials"):
            said_by(output(url, auth="sigv4", region="eu-west-1"))


def test_without_credentials_nothing_is_sent() -> None:
    with pytest.raises(OutputError, match="there are no AWS credentials"):
        connect(output("https://kb.eu-west-1.es.amazonaws.com"))


@pytest.fixture(scope="module")
def secrets_manager() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def secret(secrets_manager: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Keeps a secret; its ARN."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", secrets_manager)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    client = boto3.client("secretsmanager", region_name="eu-west-1")

    def keep(text: str) -> str:
        name = hashlib.sha256(text.encode()).hexdigest()[:12]
        return client.create_secret(Name=name, SecretString=text)["ARN"]

    return keep


def test_basic_takes_user_and_password_from_the_secret(secret: Callable[[str], str]) -> None:
    seen: list[str] = []

    def answer(handler: BaseHTTPRequestHandler, _body: bytes) -> tuple[int, dict[str, Any]]:
        seen.append(base64.b64decode(handler.headers["Authorization"].split(" ")[1]).decode())
        return 200, {}

    arn = secret('{"username": "loader", "password": "pä:ss→"}')
    with serving(answer) as url:
        said_by(output(url, secret_arn=arn))
    assert seen == ["loader:pä:ss→"]


@pytest.mark.parametrize("text", ['{"user": "x", "password": "hunter2"}', "hunter2", '["hunter2"]'])
def test_a_secret_that_is_none_is_told_of_without_a_word_of_it(
    text: str, secret: Callable[[str], str]
) -> None:
    arn = secret(text)
    with pytest.raises(OutputError, match="is not JSON with username and password") as caught:
        connect(output("https://127.0.0.1:9", secret_arn=arn))
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_secret_that_is_not_there_is_told_of(secret: Callable[[str], str]) -> None:
    arn = secret("x").rpartition(":")[0] + ":gone-abcdef"
    with pytest.raises(OutputError, match="ResourceNotFoundException") as caught:
        connect(output("https://127.0.0.1:9", secret_arn=arn))
    assert "secretsmanager:GetSecretValue" in caught.value.hint


def test_a_password_that_is_not_accepted_is_told_of(secret: Callable[[str], str]) -> None:
    arn = secret('{"username": "loader", "password": "hunter2"}')
    with (
        serving(lambda _handler, _body: (401, {"error": "Unauthorized"})) as url,
        pytest.raises(OutputError, match="who asks was not accepted") as caught,
    ):
        said_by(output(url, secret_arn=arn))
    assert "hunter2" not in str(caught.value)


class Authority:
    """A certificate authority of a test's own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")])
        self._certificate = self._sign(self._name, self._key, authority=True)
        self.bundle = folder / "authority.pem"
        self.bundle.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def server(self, name: x509.GeneralName) -> ssl.SSLContext:
        """For a server of that name, with a certificate of this authority."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "search")])
        certificate = self._sign(subject, key, names=[name])
        path = self._folder / "server.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        *,
        authority: bool = False,
        names: list[x509.GeneralName] | None = None,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256())


HERE = x509.IPAddress(ip_address("127.0.0.1"))


def hello(_handler: BaseHTTPRequestHandler, _body: bytes) -> tuple[int, dict[str, Any]]:
    return 200, {"hello": "you"}


def test_a_certificate_of_an_unknown_authority_is_refused(tmp_path: Path) -> None:
    context = Authority(tmp_path).server(HERE)
    with (
        serving(hello, context=context) as url,
        pytest.raises(OutputError, match="certificate is not to be trusted") as caught,
    ):
        said_by(output(url))
    assert "Set ca_bundle" in caught.value.hint
    assert "can't be turned off" in caught.value.hint


def test_a_certificate_of_the_spec_s_authority_is_accepted(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with serving(hello, context=authority.server(HERE)) as url:
        assert said_by(output(url, ca_bundle=str(authority.bundle))) == {"hello": "you"}


def test_a_certificate_for_another_name_is_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = authority.server(x509.DNSName("other.example.org"))
    with (
        serving(hello, context=context) as url,
        pytest.raises(OutputError, match="certificate is for another name"),
    ):
        said_by(output(url, ca_bundle=str(authority.bundle)))


def test_a_server_without_tls_is_told_of() -> None:
    with serving(hello) as url, pytest.raises(OutputError, match="speaks no TLS"):
        said_by(output(url.replace("http://", "https://")))


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_bundle_that_is_none_is_told_of(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "authority.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SpecError, match="can't be used"):
        connect(output("https://127.0.0.1:9", ca_bundle=str(path)))


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with serving(hello) as url:
        assert said_by(output(url)) == {"hello": "you"}


def test_a_request_is_sent_once_whatever_comes_of_it() -> None:
    asked: list[str] = []

    def busy(handler: BaseHTTPRequestHandler, _body: bytes) -> tuple[int, dict[str, Any]]:
        asked.append(handler.path)
        return 503, {"message": "busy"}

    with serving(busy) as url, pytest.raises(OutputError, match="failed with 503"):
        said_by(output(url))
    assert asked == ["/"]


def test_a_server_that_hangs_is_given_up_after_the_timeout() -> None:
    released = threading.Event()

    def hang(_handler: BaseHTTPRequestHandler, _body: bytes) -> tuple[int, dict[str, Any]]:
        released.wait(10)
        return 200, {}

    with serving(hang) as url:
        with pytest.raises(OutputError, match="not answered in time"):
            said_by(output(url, bulk={"timeout_s": 0.3}))
        released.set()


def test_a_page_instead_of_an_answer_is_told_of() -> None:
    with (
        serving(lambda _handler, _body: (200, b"<html>Sign in</html>")) as url,
        pytest.raises(OutputError, match="the answer is not OpenSearch's"),
    ):
        said_by(output(url))
