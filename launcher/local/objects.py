"""Inputs as the service brings them: list a prefix, share its objects out, copy a host's share."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from launcher.local.order import InputChannel

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PARALLEL_COPIES = 16
"""Objects on their way at once, in either direction."""


class TransferFailedError(Exception):
    """Data did not get in or out; the text is the job's FailureReason."""


@dataclass(frozen=True, slots=True)
class InputObject:
    """key: within the bucket; name: below the channel's folder."""

    key: str
    name: str


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key of an s3:// URI."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def list_objects(s3: S3Client, channel: InputChannel) -> list[InputObject]:
    """The objects of a channel in order of their keys.

    A prefix is taken as S3 takes it: without a slash at its end it also matches its siblings.
    Raises TransferFailedError where there are none, as the service does, or none can be listed.
    """
    bucket, prefix = split_uri(channel.s3_uri)
    try:
        found = list(_listed(s3, bucket, prefix))
    except (ClientError, BotoCoreError) as error:
        raise TransferFailedError(
            f"ClientError: {channel.s3_uri} of input {channel.name} can't be listed: {error}"
        ) from error
    if not found:
        raise TransferFailedError(
            f'ClientError: No S3 objects found under S3 URL "{channel.s3_uri}" given in input '
            f"data source of {channel.name}. Please ensure that the bucket exists, that objects "
            "exist under that prefix, and that the role may list it."
        )
    return found


def _listed(s3: S3Client, bucket: str, prefix: str) -> Iterator[InputObject]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    for page in pages:
        for entry in page.get("Contents", []):
            key = entry["Key"]
            if not key.endswith("/"):  # the console's empty folders
                yield InputObject(key, _name_below(prefix, key))


def _name_below(prefix: str, key: str) -> str:
    """Where an object goes below its channel's folder: without the prefix as a folder.

    A sibling that the prefix happens to match keeps the name it has beside it.
    """
    folder = prefix if prefix.endswith("/") or not prefix else f"{prefix}/"
    if key.startswith(folder):
        return key[len(folder) :]
    return key[prefix.rfind("/") + 1 :]


def share_out(
    objects: Sequence[InputObject], *, hosts: int, sharded: bool, rng: random.Random
) -> list[list[InputObject]]:
    """Each host's objects. Sharded: an equal number each, whatever their size, in no order."""
    if not sharded:
        return [list(objects)] * hosts
    shuffled = list(objects)
    rng.shuffle(shuffled)
    return [shuffled[host::hosts] for host in range(hosts)]


def download(s3: S3Client, bucket: str, objects: Sequence[InputObject], folder: Path) -> None:
    """Copy objects into a folder, which is made even if there are none.

    Raises TransferFailedError with the first object that could not be copied.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def copy(wanted: InputObject) -> None:
        path = folder / _safe(wanted.name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            s3.download_file(bucket, wanted.key, str(path))
        except (ClientError, BotoCoreError, OSError) as error:
            raise TransferFailedError(
                f"ClientError: Data download failed: s3://{bucket}/{wanted.key}: {error}"
            ) from error

    with ThreadPoolExecutor(PARALLEL_COPIES) as pool:
        for _ in pool.map(copy, objects):
            pass


def _safe(name: str) -> str:
    """An object's name as a path, refused where it would leave the folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise TransferFailedError(f"ClientError: Data download failed: {name!r} names no file")
    return name
