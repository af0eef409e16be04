"""A large file to S3 in parts, each with its SHA-256, one after the other."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from embed_job.errors import OutputError
from embed_job.storage.ranges import split_key
from embed_job.storage.retry import Retry, code_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

MAX_PARTS = 10_000


def upload_in_parts(
    client: S3Client, path: Path, *, key: str, part_bytes: int, retry: Retry
) -> None:
    """Send the file at path to key; the object appears whole or not at all.

    part_bytes grows where the file would have more parts than S3 takes; one part is held in
    memory. After a failure the parts that arrived are dropped, where S3 can still be reached.
    """
    call = partial(retry.call, where=key, failure=OutputError)
    bucket, name = split_key(key)
    begin = partial(
        client.create_multipart_upload, Bucket=bucket, Key=name, ChecksumAlgorithm="SHA256"
    )
    upload_id = call(begin)["UploadId"]
    parts: list[CompletedPartTypeDef] = []
    try:
        for number, data in enumerate(_parts(path, part_bytes), start=1):
            checksum = b64encode(hashlib.sha256(data).digest()).decode()
            send = partial(
                client.upload_part,
                Bucket=bucket,
                Key=name,
                UploadId=upload_id,
                PartNumber=number,
                Body=data,
                ChecksumSHA256=checksum,
            )
            etag = call(send)["ETag"]
            parts.append({"PartNumber": number, "ETag": etag, "ChecksumSHA256": checksum})
        finish = partial(
            client.complete_multipart_upload,
            Bucket=bucket,
            Key=name,
            UploadId=upload_id,
            MultipartUpload={"Parts": parts},
        )
        call(partial(_finish_once, finish))
    except BaseException:
        with suppress(ClientError, BotoCoreError):
            client.abort_multipart_upload(Bucket=bucket, Key=name, UploadId=upload_id)
        raise


def _parts(path: Path, part_bytes: int) -> Iterator[bytes]:
    size = max(part_bytes, -(-path.stat().st_size // MAX_PARTS))
    with path.open("rb") as stream:
        while data := stream.read(size):
            yield data


def _finish_once(finish: Callable[[], object]) -> None:
    try:
        finish()
    except ClientError as error:
        # What an attempt gets whose predecessor was applied and its answer lost. The caller
        # looks at the object next, and so finds out if it was anything else.
        if code_of(error) != "NoSuchUpload":
            raise
