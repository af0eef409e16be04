"""Keys, and when a call to S3 is made again."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError, SSLError
from hypothesis import given
from hypothesis import strategies as st

from embed_job.errors import InputError, OutputError
from embed_job.storage import join, resolve, store_for
from embed_job.storage.local import LocalStore
from embed_job.storage.retry import LONGEST_DELAY_S, Retry, is_transient


def refusal(status: int, code: str) -> ClientError:
    return ClientError(
        {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        "PutObject",
    )


def failing(times: int, error: Exception) -> Callable[[], str]:
    left = iter([error] * times)

    def operation() -> str:
        for failure in left:
            raise failure
        return "done"

    return operation


class Clock:
    def __init__(self) -> None:
        self.sleeps: list[float] = []

    def __call__(self) -> float:
        return sum(self.sleeps)


def retry(clock: Clock, *, deadline_s: float, seed: int = 0) -> Retry:
    rng = random.Random(seed)
    return Retry(deadline_s=deadline_s, clock=clock, sleep=clock.sleeps.append, rng=rng)


def test_join() -> None:
    assert join("s3://b/a/", "c", "d.json") == "s3://b/a/c/d.json"
    assert join("/a", "b") == "/a/b"


def test_resolve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve("s3://b/a/../c") == "s3://b/a/../c"
    assert resolve("out") == str(tmp_path / "out")


def test_a_path_is_local() -> None:
    assert isinstance(store_for("/tmp/a"), LocalStore)  # noqa: S108 - nothing is written


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (refusal(503, "SlowDown"), True),
        (refusal(500, "InternalError"), True),
        (refusal(400, "RequestTimeout"), True),
        (refusal(400, "BadDigest"), True),
        (refusal(409, "ConditionalRequestConflict"), True),
        (refusal(412, "PreconditionFailed"), False),
        (refusal(404, "NoSuchKey"), False),
        (refusal(403, "AccessDenied"), False),
        (EndpointConnectionError(endpoint_url="http://x"), True),
        (ReadTimeoutError(endpoint_url="http://x"), True),
        (SSLError(endpoint_url="https://x", error="EOF occurred in violation of protocol"), True),
        (SSLError(endpoint_url="https://x", error="CERTIFICATE_VERIFY_FAILED"), False),
        (ValueError(), False),
    ],
)
def test_what_is_tried_again(error: Exception, again: bool) -> None:
    assert is_transient(error) is again


@given(st.integers(0, 12), st.integers(0, 2**32))
def test_delays_grow_are_spread_and_bounded(times: int, seed: int) -> None:
    clock = Clock()
    patient = retry(clock, deadline_s=10_000, seed=seed)
    operation = failing(times, refusal(503, "SlowDown"))
    assert patient.call(operation, where="s3://b/k", failure=InputError) == "done"
    assert len(clock.sleeps) == times
    assert all(
        0 < delay <= min(LONGEST_DELAY_S, 0.2 * 2 ** (number + 1))
        for number, delay in enumerate(clock.sleeps)
    )


@given(st.floats(0.5, 1000), st.integers(0, 2**32))
def test_no_call_sleeps_past_its_deadline(deadline_s: float, seed: int) -> None:
    clock = Clock()
    with pytest.raises(OutputError, match=r"s3://b/k: S3 still failed after \d+ attempts"):
        retry(clock, deadline_s=deadline_s, seed=seed).call(
            failing(100_000, refusal(503, "SlowDown")), where="s3://b/k", failure=OutputError
        )
    assert clock() <= deadline_s


def test_an_error_of_ours_is_not_tried_again() -> None:
    clock = Clock()
    with pytest.raises(ZeroDivisionError):
        retry(clock, deadline_s=60).call(
            failing(1, ZeroDivisionError()), where="s3://b/k", failure=InputError
        )
    assert clock.sleeps == []
