"""How a host of this machine reaches the S3 that the launcher uses.

On AWS the job's role gives its containers credentials by an endpoint; here they get those of the
launcher, in their environment. A container's environment can be read by whoever may use Docker on
this machine, who could read the launcher's as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from launcher.local.objects import PARALLEL_COPIES

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_s3 import S3Client

    from launcher.aws.clients import Clients


def patient_s3(clients: Clients) -> S3Client:
    """A client that retries: the launcher's own leaves that to the engine's store."""
    from botocore.config import Config

    config = Config(
        connect_timeout=10,
        read_timeout=60,
        retries={"mode": "standard", "total_max_attempts": 8},
        max_pool_connections=PARALLEL_COPIES,
        user_agent_extra="embed-job",
    )
    return clients.session.client("s3", region_name=clients.known_region, config=config)


def access_of(s3: S3Client, session: boto3.Session) -> dict[str, str]:
    """Environment variables with the client's endpoint and the session's credentials.

    Temporary credentials are handed on as they are now: a job that outlives them fails. Empty of
    credentials where the session has none.
    """
    found: dict[str, str] = {}
    endpoint = s3.meta.endpoint_url
    if not (urlsplit(endpoint).hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn")):
        found["AWS_ENDPOINT_URL"] = endpoint
    credentials = session.get_credentials()
    if credentials is not None:
        frozen = credentials.get_frozen_credentials()
        found |= {
            "AWS_ACCESS_KEY_ID": frozen.access_key or "",
            "AWS_SECRET_ACCESS_KEY": frozen.secret_key or "",
        }
        if frozen.token:
            found["AWS_SESSION_TOKEN"] = frozen.token
    return found
