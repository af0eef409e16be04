"""An object of S3 as a stream: in order, or seekable for Parquet, by ranged requests."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError, IncompleteReadError
from botocore.response import StreamingBody

from embed_job.errors import InputError, UserError
from embed_job.storage.retry import Retry, code_of, status_of

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from mypy_boto3_s3 import S3Client

REQUEST_BYTES = 8 << 20


def split_key(key: str) -> tuple[str, str]:
    """Bucket and name of a key; the name is taken as it stands, nothing in it is decoded."""
    bucket, _, name = key.removeprefix("s3://").partition("/")
    if not key.startswith("s3://") or not bucket:
        raise UserError(key, "not an address in S3", "Write it as s3://bucket/name.")
    return bucket, name


def changed(key: str) -> InputError:
    """The object is another version than the one that is meant."""
    what = "changed while the run was reading it: its ETag is another"
    return InputError(key, what, "Run again once it is in place.")


class RangedObject:
    """One version of one object, asked for by byte ranges.

    size: bytes of the object. Every request names the ETag that was seen first, so bytes of two
    versions are never mixed.
    """

    def __init__(self, client: S3Client, key: str, *, size: int, etag: str, retry: Retry) -> None:
        self._client = client
        self.key = key
        self.size = size
        self._etag = etag
        self.retry = retry

    def request(self, start: int, end: int) -> StreamingBody:
        """The body of bytes [start, end), not empty. One attempt.

        Raises InputError where the object is no longer what it was.
        """
        bucket, name = split_key(self.key)
        try:
            answer = self._client.get_object(
                Bucket=bucket,
                Key=name,
                Range=f"bytes={start}-{end - 1}",
                IfMatch=f'"{self._etag}"',
            )
        except ClientError as error:
            if status_of(error) in {404, 412, 416} or code_of(error) == "PreconditionFailed":
                raise changed(self.key) from error
            raise
        if answer["ContentLength"] != end - start:
            answer["Body"].close()
            raise changed(self.key)
        return answer["Body"]


class RangeStream:
    """Bytes [start, end) in order. Where a connection breaks it goes on at the same byte.

    Each read that makes progress has the whole deadline for itself: a stream is as slow as its
    consumer.
    """

    def __init__(self, source: RangedObject, start: int, end: int) -> None:
        self._source = source
        self._at = start
        self._end = max(start, min(end, source.size))
        self._body: StreamingBody | None = None
        self._body_end = start

    def read(self, size: int = -1, /) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(1 << 20), b""))
        if size == 0 or self._at >= self._end:
            return b""
        return self._source.retry.call(
            lambda: self._read_some(size), where=self._source.key, failure=InputError
        )

    def _read_some(self, size: int) -> bytes:
        if self._body is None:
            self._body_end = min(self._end, self._at + REQUEST_BYTES)
            self._body = self._source.request(self._at, self._body_end)
        left = self._body_end - self._at
        try:
            data = self._body.read(min(size, left))
            if not data:
                raise IncompleteReadError(actual_bytes=0, expected_bytes=left)
        except BotoCoreError:
            self.close()
            raise
        self._at += len(data)
        if self._at == self._body_end:
            self.close()
        return data

    def close(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            # Closing a broken connection may fail in as many ways as the connection broke.
            with suppress(Exception):
                body.close()


class SeekableObject(io.RawIOBase):
    """Random access; one request for each read, of REQUEST_BYTES at most."""

    def __init__(self, source: RangedObject) -> None:
        self._source = source
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._source.size}[whence]
        if base + offset < 0:
            raise ValueError(f"negative position {base + offset}")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        end = min(self._source.size, self._at + min(len(view), REQUEST_BYTES))
        stream = RangeStream(self._source, self._at, end)
        filled = 0
        while data := stream.read(len(view) - filled):
            view[filled : filled + len(data)] = data
            filled += len(data)
        self._at += filled
        return filled
