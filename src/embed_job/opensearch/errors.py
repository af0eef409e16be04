"""Trouble with a cluster, worded for its user: where, what, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import urllib3.exceptions as net
from botocore.exceptions import BotoCoreError, ClientError
from opensearchpy import exceptions as refusal

from embed_job.errors import OutputError

_SHOWN_CHARS = 400
_AGAIN = "Run the same command again later."
_LOGIN = "Log in again, or give the job a role; `aws sts get-caller-identity` shows who you are."


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Turn errors of the client, the network and AWS into OutputError.

    where: the server's url, or the index at it.
    """
    try:
        yield
    except Exception as error:
        found = explain(error, where=where)
        if found is None:
            raise
        raise found from error


def explain(error: Exception, *, where: str) -> OutputError | None:
    """One message for an error of the client, the network or AWS; None: it is something else."""
    if isinstance(error, refusal.ConnectionError):
        what, hint = _unreachable(error)
    elif isinstance(error, refusal.TransportError):
        what, hint = _refused(int(error.status_code), type_of(error), reason_of(error))
    elif isinstance(error, refusal.SerializationError):
        what = f"the answer is not OpenSearch's ({_cut(str(error))})"
        hint = "Check the url: a proxy, a login page or another service may be at it."
    elif isinstance(error, BotoCoreError | ClientError):
        what, hint = f"AWS gave no usable credentials ({_cut(str(error))})", _LOGIN
    else:
        return None
    return OutputError(where, what, hint)


def is_passing(error: Exception) -> bool:
    """Whether the same request may succeed a little later: no connection, 429, 5xx."""
    if isinstance(error, refusal.ConnectionError):
        cause = error.info
        if isinstance(cause, BotoCoreError | ClientError | UnicodeError):
            return False
        return not (isinstance(cause, net.SSLError) and _is_about_trust(cause))
    if isinstance(error, refusal.TransportError):
        return error.status_code == 429 or int(error.status_code) >= 500
    return False


def type_of(error: refusal.TransportError) -> str:
    """The server's name for an error, such as ``cluster_block_exception``; "" where it has none."""
    found = _body(error).get("error")
    return str(found.get("type", "")) if isinstance(found, dict) else ""


def reason_of(error: refusal.TransportError) -> str:
    """The server's own words about an error."""
    body = _body(error)
    found = body.get("error")
    if isinstance(found, dict):
        causes = [found, *(found.get("root_cause") or [])]
        found = next((cause["reason"] for cause in causes if cause.get("reason")), None)
    told = found or body.get("message") or body.get("Message") or error.error
    return _cut(str(told))


def _body(error: refusal.TransportError) -> dict[str, Any]:
    return error.info if isinstance(error.info, dict) else {}


_BROKEN: tuple[tuple[type[Exception], str, str], ...] = (
    (
        net.NameResolutionError,
        "the name of the server is not known",
        "Check the url. The endpoint of a domain in a VPC resolves inside of it alone: give the "
        "job subnets and security groups of that VPC.",
    ),
    (
        net.NewConnectionError,
        "the connection was refused",
        f"Check the url's port, and that the server is up. {_AGAIN}",
    ),
    (
        net.ConnectTimeoutError,
        "nothing answers there",
        "Check the url, and that security groups and network policies let this machine in.",
    ),
    (
        net.ReadTimeoutError,
        "a request was not answered in time",
        f"The cluster may be overloaded; bulk.timeout_s is the time given. {_AGAIN}",
    ),
)
"""Errors of the network, the more special ones first: what they are, and what to do."""


def _unreachable(error: refusal.ConnectionError) -> tuple[str, str]:
    cause = error.info
    if isinstance(cause, BotoCoreError | ClientError):
        return f"AWS gave no usable credentials ({_cut(str(cause))})", _LOGIN
    if isinstance(cause, net.SSLError):
        return _untrusted(_cut(str(cause)))
    for kind, what, hint in _BROKEN:
        if isinstance(cause, kind):
            return what, hint
    return f"the connection broke ({_cut(str(cause))})", _AGAIN


def _untrusted(told: str) -> tuple[str, str]:
    if "WRONG_VERSION_NUMBER" in told or "record layer" in told.lower():
        return "the server speaks no TLS at that port", "Check the url's scheme and port."
    if "hostname" in told.lower() or "IP address mismatch" in told:
        return f"the server's certificate is for another name ({told})", (
            "Use the name that the certificate has; verification can't be turned off."
        )
    return f"the server's certificate is not to be trusted ({told})", (
        "Set ca_bundle to the PEM file of the authority that signed it, if that is your own; "
        "verification can't be turned off."
    )


def _is_about_trust(cause: net.SSLError) -> bool:
    told = str(cause).upper()
    return "CERTIFICATE" in told or "WRONG_VERSION_NUMBER" in told


_BY_TYPE = {
    "cluster_block_exception": (
        "writing is blocked",
        "Most often a disk is full: free space or add some; the server then lifts the block, "
        f"or set index.blocks.read_only_allow_delete to null. {_AGAIN}",
    ),
    "circuit_breaking_exception": (
        "the cluster is out of memory for now",
        f"Lower bulk.max_mib and bulk.max_concurrency, or use larger nodes. {_AGAIN}",
    ),
}
_BY_STATUS = {
    401: (
        "who asks was not accepted",
        "Check auth, and the user name and password in the secret of secret_arn.",
    ),
    404: ("it is not there", "Check the url and the names of index and alias."),
    429: ("the cluster is too busy", _AGAIN),
}


def _refused(status: int, kind: str, reason: str) -> tuple[str, str]:
    known = _BY_TYPE.get(kind) or _BY_STATUS.get(status)
    if known is not None:
        return f"{known[0]} ({reason})", known[1]
    if status == 403:
        return _forbidden(reason)
    if status >= 500:
        return f"the cluster failed with {status} ({reason})", (
            f"Look at the health of its nodes. {_AGAIN}"
        )
    if status < 400:
        return f"the server redirects elsewhere ({status})", "Give the url that it redirects to."
    return f"the server refused the request with {status} ({reason})", (
        "The server's reason says what to change in the spec or on the cluster."
    )


def _forbidden(reason: str) -> tuple[str, str]:
    if "expired" in reason.lower():
        return f"the AWS credentials have expired ({reason})", (
            "Use credentials that are renewed by themselves, such as a role's, and run again."
        )
    if "signature" in reason.lower():
        return f"the signature was not accepted ({reason})", (
            "Check region and service in the spec, and this machine's clock."
        )
    return f"access was refused ({reason})", (
        "A domain: its access policy and, with fine-grained access, a role mapping must let this "
        "identity in. Serverless: its data access policy and network policy. docs/opensearch.md "
        "lists what is needed."
    )


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN_CHARS else f"{line[:_SHOWN_CHARS]}…"
