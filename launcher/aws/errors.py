"""What AWS refuses, in the words of a user: where, what, and what to do about it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore import exceptions as boto
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from embed_job.errors import UserError
from embed_job.spec import JobSpec
from embed_job.storage.retry import code_of, status_of

AWS_ERRORS = (BotoCoreError, ClientError, ResponseParserError)
"""What a call may raise: refused, not made, or answered with something that is no answer."""

_DENIED = frozenset(
    ["AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation"]
)
_THROTTLED = frozenset(
    [
        "RequestLimitExceeded",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "TooManyRequestsException",
    ]
)
_CREDENTIALS = frozenset(
    [
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "InvalidToken",
        "MissingAuthenticationToken",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    ]
)
_NO_CREDENTIALS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.MetadataRetrievalError,
    boto.TokenRetrievalError,
    boto.SSOError,
)
_ACTIONS = {
    "ListObjectsV2": "s3:ListBucket",
    "HeadBucket": "s3:ListBucket",
    "HeadObject": "s3:GetObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "GetRole": "iam:GetRole",
    "SimulatePrincipalPolicy": "iam:SimulatePrincipalPolicy",
    "DescribeImages": "ecr:DescribeImages",
    "GetProducts": "pricing:GetProducts",
    "DescribeLogStreams": "logs:DescribeLogStreams",
    "GetLogEvents": "logs:GetLogEvents",
    "GetSchedule": "scheduler:GetSchedule",
    "CreateSchedule": "scheduler:CreateSchedule",
    "UpdateSchedule": "scheduler:UpdateSchedule",
    "DeleteSchedule": "scheduler:DeleteSchedule",
    "PutRule": "events:PutRule",
    "PutTargets": "events:PutTargets",
    "ListTargetsByRule": "events:ListTargetsByRule",
    "RemoveTargets": "events:RemoveTargets",
    "DeleteRule": "events:DeleteRule",
}
"""IAM's action of an operation, where it does not follow from the operation's name."""
_NAMED_ACTION = re.compile(r"perform: ([a-z0-9-]+:[A-Za-z]+)")


@contextmanager
def explained(spec: JobSpec | None = None, *, region: str | None = None) -> Iterator[None]:
    """Turns what AWS or its client refuses within the block into a UserError.

    spec: whose policies hold the statement that a refused call lacks.
    """
    try:
        yield
    except AWS_ERRORS as error:
        raise explain(error, spec, region=region) from error
    except PermissionError as error:
        # The store's word for a refusal of S3.
        if isinstance(error.__cause__, ClientError):
            raise explain(error.__cause__, spec, region=region) from error
        raise


def explain(error: Exception, spec: JobSpec | None, *, region: str | None = None) -> UserError:
    """A UserError for what botocore raised."""
    if not isinstance(error, ClientError):
        return _client_side(error, region)
    if is_denied(error):
        return _denied(error, spec, region)
    what, hint = _refused(code_of(error), _message_of(error), region)
    return UserError(str(error.operation_name), what, hint)


def _refused(code: str, message: str, region: str | None) -> tuple[str, str]:
    """What, and what to do, for everything but a missing permission."""
    if code in _CREDENTIALS:
        return f"the AWS credentials are expired or wrong ({code})", _LOG_IN
    if code in _THROTTLED:
        return f"AWS still throttles after many attempts ({code})", "Try again in a minute."
    if code == "ResourceLimitExceeded":
        return (
            f"a quota of the account is reached: {message}",
            "Ask for more under Service Quotas, or name fewer or other instances in compute.",
        )
    if "not find" in message or code in {"ResourceNotFound", "ResourceNotFoundException"}:
        return (
            f"there is no such thing: {message}",
            f"Check the name and the region ({region or 'none is set'}).",
        )
    if "assume the role" in message:
        return (
            f"EventBridge Scheduler can't take schedule.role_arn: {message}",
            "`embed-job iam` prints its trust policy; a role made just now takes a minute.",
        )
    return (
        f"AWS refused the request ({code}): {message}",
        "`embed-job plan` checks a spec before anything is sent; `embed-job doctor` the account.",
    )


def is_denied(error: Exception) -> bool:
    """Whether a permission is missing."""
    return code_of(error) in _DENIED or (
        status_of(error) == 403 and code_of(error) not in _CREDENTIALS
    )


def is_passing(error: Exception) -> bool:
    """Whether the same question may be answered a little later: throttled, or no connection."""
    if isinstance(error, ClientError):
        return code_of(error) in _THROTTLED or status_of(error) >= 500
    return isinstance(error, boto.ConnectionError | boto.HTTPClientError)


_LOG_IN = (
    "Log in again, or set AWS_PROFILE or AWS_ACCESS_KEY_ID and its companions; "
    "`aws sts get-caller-identity` shows who you are."
)


def _client_side(error: Exception, region: str | None) -> UserError:
    """What failed before AWS could answer."""
    if isinstance(error, _NO_CREDENTIALS):
        return UserError("AWS", f"no credentials: {error}", _LOG_IN)
    if isinstance(error, boto.NoRegionError | boto.InvalidRegionError):
        return UserError("AWS", str(error), "Set compute.region in the spec, or AWS_REGION.")
    if isinstance(error, boto.ParamValidationError):
        return UserError("the request", str(error), "This is a bug of embed-job; report it.")
    if isinstance(error, boto.ConnectionError | boto.HTTPClientError):
        return UserError(
            "AWS",
            f"cannot be reached ({error})",
            f"Check the network, and that {region or 'the region'} is a region of AWS; "
            "AWS_ENDPOINT_URL, where it is set, must be reachable.",
        )
    return UserError("AWS", str(error), "`embed-job doctor` checks this machine and the account.")


def _denied(error: ClientError, spec: JobSpec | None, region: str | None) -> UserError:
    named = _NAMED_ACTION.search(_message_of(error))
    action = named[1] if named else action_of(str(error.operation_name))
    statement = statement_for(action, spec, region=region)
    whole = "`embed-job iam SPEC` prints the whole policy"
    if action.startswith("kms:"):
        hint = _key_hint(action, statement)
    elif statement:
        hint = f"Ask for this statement ({whole}):\n{statement}"
    else:
        hint = f"Ask for {action}" + (f"; {whole}." if spec is None else ".")
    return UserError(action, f"AWS does not allow it: {_message_of(error)}", hint)


def _key_hint(action: str, statement: str | None) -> str:
    """The refused key may be the bucket's, of which no spec tells and which no policy names."""
    hint = f"A bucket's own key must grant {action} to this identity in the key's policy"
    if statement is None:
        return f"{hint}; `embed-job iam` grants no key that the spec does not name."
    return f"{hint}. For the key that the spec names, ask for this statement as well:\n{statement}"


def action_of(operation: str) -> str:
    """IAM's action of a botocore operation that the launcher calls."""
    if operation in _ACTIONS:
        return _ACTIONS[operation]
    service = "s3" if operation.endswith("Object") else "sagemaker"
    return f"{service}:{operation}"


def statement_for(action: str, spec: JobSpec | None, *, region: str | None) -> str | None:
    """The statement, as JSON, of the spec's policies that grants an action; None: unknown."""
    from launcher.iam import make_policies

    if spec is None:
        return None
    try:
        policies = make_policies(spec, region=region)
    except UserError:
        return None
    for policy in (policies.launcher, policies.finalize, policies.doctor, policies.schedule):
        if policy is None:
            continue
        found: list[dict[str, Any]] = [
            statement for statement in policy["Statement"] if action in statement["Action"]
        ]
        if found:
            return json.dumps(found[0] if len(found) == 1 else found, indent=2)
    return None


def _message_of(error: ClientError) -> str:
    """What AWS says, without a full stop at the end."""
    return str(error.response.get("Error", {}).get("Message", error)).rstrip(". ")
