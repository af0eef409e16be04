"""The connection to a cluster: who we are to it, that it is the right one, and no retries."""

from __future__ import annotations

import base64
import logging
import ssl
from typing import Any
from urllib.parse import urlsplit

import boto3
import opensearchpy
import orjson
from botocore.exceptions import BotoCoreError, ClientError
from opensearchpy.helpers.signer import Urllib3AWSV4SignerAuth

from embed_job.errors import OutputError, SpecError
from embed_job.spec.opensearch import OpenSearchOutput

_DEFAULT_PORTS = {"http": 80, "https": 443}
_SPARE_CONNECTIONS = 2
"""For requests about the index while every bulk request has a connection of its own."""


class _Orjson(opensearchpy.JSONSerializer):
    """JSON by orjson: exact for float32, and several times quicker than the default."""

    def dumps(self, data: Any) -> Any:
        # The client joins lines of text itself, so text goes out, not bytes.
        return data if isinstance(data, str | bytes) else _dumps(data)

    def loads(self, s: str) -> Any:
        try:
            return orjson.loads(s)
        except orjson.JSONDecodeError as error:
            raise opensearchpy.SerializationError(s[:200], error) from error


def _dumps(data: Any) -> str:
    try:
        return orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    except TypeError as error:
        raise opensearchpy.SerializationError(repr(data)[:200], error) from error


def connect(
    output: OpenSearchOutput, *, session: boto3.Session | None = None
) -> opensearchpy.OpenSearch:
    """A client for many threads that sends each request once and reports what came of it.

    session: for sigv4 and for the secret of basic; None: as the environment says. Sends nothing
    to the cluster. The server's certificate is always verified. Proxies of the environment are
    not used. Raises OutputError where credentials or secret are missing or refused, SpecError
    where ca_bundle is no file of certificates.
    """
    parts = urlsplit(output.url)
    # The client logs each failed request with a traceback before it raises the same error.
    logging.getLogger("opensearch").setLevel(logging.CRITICAL)
    return opensearchpy.OpenSearch(
        hosts=[
            {
                "host": output.host,
                "port": parts.port or _DEFAULT_PORTS[parts.scheme],
                "use_ssl": parts.scheme == "https",
                "url_prefix": parts.path,
            }
        ],
        connection_class=opensearchpy.Urllib3HttpConnection,
        pool_maxsize=output.bulk.max_concurrency + _SPARE_CONNECTIONS,
        timeout=output.bulk.timeout_s,
        max_retries=0,
        retry_on_timeout=False,
        retry_on_status=(),
        serializer=_Orjson(),
        ca_certs=_authorities(output),
        **_identity(output, session),
    )


def _authorities(output: OpenSearchOutput) -> str | None:
    if output.ca_bundle is None:
        return None
    path = output.ca_bundle.expanduser()
    try:
        ssl.create_default_context(cafile=str(path))
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise SpecError(
            "opensearch.ca_bundle",
            f"{path} can't be used ({error})",
            "Name a PEM file with the certificates of the authorities.",
        ) from error
    return str(path)


def _identity(output: OpenSearchOutput, session: boto3.Session | None) -> dict[str, Any]:
    if output.auth_in_force == "none":
        return {}
    try:
        session = session or boto3.Session()
        if output.auth_in_force == "basic":
            return {"headers": {"authorization": _basic(output, session)}}
        return {"http_auth": _signer(output, session)}
    except (BotoCoreError, ClientError) as error:
        where = output.secret_arn if output.auth_in_force == "basic" else output.url
        raise OutputError(
            where or output.url,
            f"AWS refused or gave no credentials ({error})",
            "Log in, or give the job's role secretsmanager:GetSecretValue for the secret; "
            "`aws sts get-caller-identity` shows who you are.",
        ) from error


def _signer(output: OpenSearchOutput, session: boto3.Session) -> Urllib3AWSV4SignerAuth:
    credentials = session.get_credentials()
    if credentials is None:
        raise OutputError(
            output.url,
            "there are no AWS credentials to sign requests with",
            "Log in, set AWS_PROFILE, or give the job a role.",
        )
    # The signer asks this object for keys before each request, so a role's keys renew themselves.
    service = "aoss" if output.is_serverless else "es"
    return Urllib3AWSV4SignerAuth(credentials, output.region_in_force or "", service)


def _basic(output: OpenSearchOutput, session: boto3.Session) -> str:
    """The header of the secret's user. The client's own is latin-1; servers read UTF-8."""
    arn = output.secret_arn or ""
    secrets = session.client("secretsmanager", region_name=_region_of(arn))
    text = secrets.get_secret_value(SecretId=arn).get("SecretString", "")
    try:
        pair = orjson.loads(text)
        user, password = pair["username"], pair["password"]
    except (ValueError, TypeError, KeyError):
        # Without the cause: a decoder's message may quote the secret.
        raise OutputError(
            arn,
            "the secret is not JSON with username and password",
            'Store {"username": "…", "password": "…"} as its text.',
        ) from None
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _region_of(arn: str) -> str | None:
    parts = arn.split(":")
    return parts[3] if len(parts) > 3 and parts[3] else None
