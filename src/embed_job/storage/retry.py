"""When a call to S3 is made again, and how its failures are worded."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from botocore import exceptions as boto
from botocore.exceptions import BotoCoreError, ClientError

from embed_job.errors import InputError, OutputError, UserError

Answer = TypeVar("Answer")
Failure = type[InputError] | type[OutputError]

FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 20.0

_TRANSIENT_CODES = frozenset(
    [
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "RequestLimitExceeded",
        "RequestTimeout",
        "IncompleteBody",
        # Damaged on the way: the same bytes may well arrive whole the next time.
        "BadDigest",
        "XAmzContentChecksumMismatch",
        # Two conditional writes met; S3 asks for the request to be made again.
        "ConditionalRequestConflict",
        "OperationAborted",
    ]
)
_TRANSIENT_ERRORS = (
    boto.ConnectionError,  # never connected
    boto.HTTPClientError,  # reset or timed out, before the request was applied or after
    boto.IncompleteReadError,
    boto.FlexibleChecksumError,
)
_CREDENTIAL_CODES = frozenset(
    [
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidToken",
        "TokenRefreshRequired",
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
    ]
)
_CREDENTIAL_ERRORS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.MetadataRetrievalError,
    boto.TokenRetrievalError,
    boto.ProfileNotFound,
    boto.SSOError,
)
_REGION_CODES = frozenset(
    [
        "PermanentRedirect",
        "301",
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
    ]
)


def code_of(error: Exception) -> str:
    """S3's error code; the HTTP status where there is no body to name one; "" for other errors."""
    if not isinstance(error, ClientError):
        return ""
    return str(error.response.get("Error", {}).get("Code", ""))


def status_of(error: Exception) -> int:
    """The HTTP status of a refusal; 0 for other errors."""
    if not isinstance(error, ClientError):
        return 0
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def is_transient(error: Exception) -> bool:
    """Whether the same call may succeed a little later."""
    if isinstance(error, ClientError):
        return status_of(error) >= 500 or code_of(error) in _TRANSIENT_CODES
    if isinstance(error, boto.SSLError) and "CERTIFICATE" in str(error).upper():
        return False
    return isinstance(error, _TRANSIENT_ERRORS)


@dataclass(frozen=True, slots=True)
class Retry:
    """Jittered exponential backoff with a total deadline a call, for idempotent calls alone."""

    deadline_s: float
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    rng: random.Random

    def call(self, operation: Callable[[], Answer], *, where: str, failure: Failure) -> Answer:
        """The operation's answer.

        Raises what :func:`translate` makes of a refusal; `failure` once the deadline would pass.
        """
        began_s = self.clock()
        attempts = 0
        while True:
            attempts += 1
            try:
                return operation()
            except (BotoCoreError, ClientError) as error:
                if not is_transient(error):
                    raise translate(error, where, failure) from error
                delay_s = self._delay_s(attempts)
                if self.clock() - began_s + delay_s > self.deadline_s:
                    raise failure(
                        where,
                        f"S3 still failed after {attempts} attempts in "
                        f"{self.clock() - began_s:.0f} s: {error}",
                        "What was committed stays; run the same command again later.",
                    ) from error
            self.sleep(delay_s)

    def _delay_s(self, attempts: int) -> float:
        # Full jitter spreads a fleet that was throttled together; the floor keeps it off a spin.
        longest_s = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** min(attempts, 16))
        return self.rng.uniform(FIRST_DELAY_S / 2, longest_s)


def translate(error: Exception, where: str, failure: Failure) -> Exception:
    """A refusal of S3 or of its client, as :class:`embed_job.storage.Store` promises it."""
    code = code_of(error)
    if code == "NoSuchBucket":
        return failure(where, "there is no such bucket", "Check its name, or create it.")
    if code in {"404", "NoSuchKey"}:
        return FileNotFoundError(where)
    setup = _setup_error(error, where)
    if setup is not None:
        return setup
    if status_of(error) == 403:
        return PermissionError(f"{where}: S3 refused access ({error})")
    return failure(
        where,
        f"S3 refused the request ({error})",
        "Check the address; status 400 without a reason often means expired credentials.",
    )


def _setup_error(error: Exception, where: str) -> UserError | None:
    """What is wrong with the user's machine rather than with the object asked for."""
    code = code_of(error)
    if code in _CREDENTIAL_CODES or isinstance(error, _CREDENTIAL_ERRORS):
        return UserError(
            where,
            f"the AWS credentials are missing, expired or wrong ({error})",
            "Log in again, or set AWS_PROFILE or AWS_ACCESS_KEY_ID and its companions; "
            "`aws sts get-caller-identity` shows who you are.",
        )
    if code in _REGION_CODES:
        return UserError(
            where,
            f"the bucket is in another region than the one asked ({error})",
            "Set AWS_REGION to the bucket's region.",
        )
    if code == "RequestTimeTooSkewed":
        return UserError(where, f"this machine's clock is off ({error})", "Set the clock.")
    return None
