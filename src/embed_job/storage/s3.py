"""Files in S3, by boto3. Creation is conditional, every write carries its SHA-256."""

from __future__ import annotations

import hashlib
import io
import random
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast

from botocore.exceptions import BotoCoreError, ClientError

from embed_job.errors import InputError, OutputError, UserError
from embed_job.storage import ByteStream, StoredFile, Tagged
from embed_job.storage.multipart import upload_in_parts
from embed_job.storage.ranges import (
    RangedObject,
    RangeStream,
    SeekableObject,
    changed,
    split_key,
)
from embed_job.storage.retry import Failure, Retry, code_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Answer = TypeVar("Answer")

PART_BYTES = 16 << 20
SEEKABLE_BUFFER_BYTES = 256 << 10


def new_client(*, endpoint_url: str | None = None) -> S3Client:
    """A client of boto3's default chain: environment, profile, container or instance role.

    Its own retries are off: :class:`embed_job.storage.retry.Retry` makes them, with a deadline.
    Raises UserError where the environment names a profile or endpoint that makes no sense.
    """
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=10,
        read_timeout=60,
        retries={"mode": "standard", "total_max_attempts": 1},
        max_pool_connections=16,
        user_agent_extra="embed-job",
    )
    try:
        return boto3.Session().client("s3", endpoint_url=endpoint_url, config=config)
    except (BotoCoreError, ValueError) as error:
        raise UserError(
            "S3",
            f"no client can be made ({error})",
            "Check AWS_PROFILE, AWS_REGION and AWS_ENDPOINT_URL.",
        ) from error


class S3Store:
    """A :class:`embed_job.storage.Store` of S3 objects; keys are ``s3://bucket/name``.

    Every call is idempotent and retried with jitter until its deadline. clock, sleep and rng
    serve the retries. part_bytes: size of an upload's parts;
    what is no larger than four of them goes in one request.
    """

    def __init__(
        self,
        client: S3Client,
        *,
        deadline_s: float = 300,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        rng: random.Random | None = None,
        part_bytes: int = PART_BYTES,
    ) -> None:
        self._client = client
        rng = rng or random.Random()  # noqa: S311 - jitter
        self._retry = Retry(deadline_s=deadline_s, clock=clock, sleep=sleep, rng=rng)
        self._part_bytes = part_bytes

    @classmethod
    def from_environment(cls) -> S3Store:
        return cls(new_client())

    def list(self, prefix: str) -> Iterator[StoredFile]:
        bucket, name = split_key(prefix)
        folder = name if not name or name.endswith("/") else f"{name}/"
        if name != folder:
            page = self._page(prefix, Bucket=bucket, Prefix=name, MaxKeys=1)
            first = next(iter(page.get("Contents", [])), None)
            if first is not None and first["Key"] == name:
                yield _listed(bucket, first)
                return
        found = False
        more: dict[str, Any] = {}
        while True:
            page = self._page(prefix, Bucket=bucket, Prefix=folder, **more)
            for entry in page.get("Contents", []):
                found = True
                # An object named like a folder is the console's way to show an empty one.
                if not entry["Key"].endswith("/"):
                    yield _listed(bucket, entry)
            if not page.get("IsTruncated"):
                break
            more = {"ContinuationToken": page["NextContinuationToken"]}
        if not found and name:
            raise FileNotFoundError(prefix)

    def _page(self, where: str, **request: Any) -> dict[str, Any]:
        answer = self._call(partial(self._client.list_objects_v2, **request), where, InputError)
        return cast(dict[str, Any], answer)

    def stat(self, key: str) -> StoredFile:
        return self._stat(key, InputError)

    def _stat(self, key: str, failure: Failure) -> StoredFile:
        bucket, name = split_key(key)
        head = self._call(lambda: self._client.head_object(Bucket=bucket, Key=name), key, failure)
        return StoredFile(key, head["ContentLength"], head["ETag"].strip('"'))

    def open_range(
        self, key: str, start: int = 0, end: int | None = None, *, etag: str | None = None
    ) -> ByteStream:
        source = self._ranged(key, etag)
        return RangeStream(source, start, source.size if end is None else end)

    def open_seekable(self, key: str, *, etag: str | None = None) -> BinaryIO:
        raw = SeekableObject(self._ranged(key, etag))
        return cast(BinaryIO, io.BufferedReader(raw, SEEKABLE_BUFFER_BYTES))

    def _ranged(self, key: str, etag: str | None) -> RangedObject:
        found = self.stat(key)
        if etag is not None and found.etag != etag:
            raise changed(key)
        return RangedObject(
            self._client, key, size=found.size, etag=found.etag or "", retry=self._retry
        )

    def read(self, key: str) -> bytes:
        bucket, name = split_key(key)

        def get() -> bytes:
            # boto3 checks the checksum that S3 keeps with the object, if any.
            return self._client.get_object(Bucket=bucket, Key=name)["Body"].read()

        return self._call(get, key, InputError)

    def read_tagged(self, key: str) -> Tagged:
        bucket, name = split_key(key)

        def get() -> Tagged:
            found = self._client.get_object(Bucket=bucket, Key=name)
            return Tagged(found["Body"].read(), found["ETag"].strip('"'))

        return self._call(get, key, InputError)

    def create(self, key: str, data: bytes) -> bool:
        return self._put_if(key, data, {"IfNoneMatch": "*"})

    def swap(self, key: str, data: bytes, *, tag: str | None) -> bool:
        if tag is None:
            return self.create(key, data)
        try:
            return self._put_if(key, data, {"IfMatch": f'"{tag}"'})
        except FileNotFoundError:  # so S3 answers where the object is gone
            return False

    def _put_if(self, key: str, data: bytes, condition: dict[str, str]) -> bool:
        """As of Store.create, under S3's condition."""
        bucket, name = split_key(key)
        put = partial(self._client.put_object, Bucket=bucket, Key=name, Body=data)

        def attempt() -> bool:
            try:
                put(ChecksumSHA256=_sha256(data), **condition)  # type: ignore[arg-type]
            except ClientError as error:
                if code_of(error) in {"PreconditionFailed", "412"}:
                    return False
                raise
            return True

        if self._call(attempt, key, OutputError):
            return True
        # Also taken where an attempt of this very call was applied and its answer got lost.
        try:
            return self.read(key) == data
        except FileNotFoundError:
            return False

    def replace(self, key: str, data: bytes) -> None:
        bucket, name = split_key(key)
        put = partial(self._client.put_object, Bucket=bucket, Key=name, Body=data)
        self._call(lambda: put(ChecksumSHA256=_sha256(data)), key, OutputError)

    def upload(self, path: Path, key: str) -> None:
        size = path.stat().st_size
        if size > 4 * self._part_bytes:
            upload_in_parts(
                self._client, path, key=key, part_bytes=self._part_bytes, retry=self._retry
            )
        else:
            self._put_file(path, key)
        stored = self._stat(key, OutputError).size
        if stored != size:
            raise OutputError(
                key,
                f"S3 holds {stored} bytes of the {size} that were sent",
                "Something else writes to this key; give the job a folder of its own.",
            )
        path.unlink()

    def _put_file(self, path: Path, key: str) -> None:
        bucket, name = split_key(key)
        with path.open("rb") as stream:
            checksum = b64encode(hashlib.file_digest(stream, "sha256").digest()).decode()

        def put() -> None:
            with path.open("rb") as body:
                self._client.put_object(Bucket=bucket, Key=name, Body=body, ChecksumSHA256=checksum)

        self._call(put, key, OutputError)

    def move(self, source: str, target: str) -> None:
        # In one request, which is for 5 GiB at most: no file of ours comes near that.
        (from_bucket, from_name), (bucket, name) = split_key(source), split_key(target)
        copy = partial(self._client.copy_object, Bucket=bucket, Key=name)
        try:
            where = {"Bucket": from_bucket, "Key": from_name}
            self._call(lambda: copy(CopySource=where), source, OutputError)  # type: ignore[arg-type]
        except FileNotFoundError:
            self._stat(target, OutputError)
            return
        self.delete(source)

    def delete(self, key: str) -> None:
        bucket, name = split_key(key)
        try:
            self._call(
                lambda: self._client.delete_object(Bucket=bucket, Key=name), key, OutputError
            )
        except FileNotFoundError:
            return

    def _call(self, operation: Callable[[], Answer], where: str, failure: Failure) -> Answer:
        return self._retry.call(operation, where=where, failure=failure)


def _listed(bucket: str, entry: dict[str, Any]) -> StoredFile:
    return StoredFile(f"s3://{bucket}/{entry['Key']}", entry["Size"], entry["ETag"].strip('"'))


def _sha256(data: bytes) -> str:
    return b64encode(hashlib.sha256(data).digest()).decode()
