"""Outputs as the service takes them: at the end of the job, or as files appear."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from boto3.exceptions import S3UploadFailedError
from botocore.exceptions import BotoCoreError, ClientError

from launcher.local.objects import PARALLEL_COPIES, TransferFailedError, split_uri

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Signature = tuple[int, int]
"""Size in bytes and time of the last change in nanoseconds."""


@dataclass(frozen=True, slots=True)
class OutputFolder:
    """A folder of one host, its path without links, and the prefix it goes to."""

    path: Path
    s3_uri: str
    kms_key: str | None


def files_below(folder: Path) -> Iterator[tuple[Path, Signature]]:
    """Regular files below a folder; links are not followed, as the service does not.

    A folder that the host has made a link, or put below one, has none: it would show any file of
    this machine.
    """
    if folder.resolve() != folder:
        return
    yield from _walk(folder)


def _walk(folder: Path) -> Iterator[tuple[Path, Signature]]:
    try:
        with os.scandir(folder) as entries:
            found = list(entries)
    except FileNotFoundError:
        return
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path))
        elif entry.is_file(follow_symlinks=False):
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # renamed since
            yield Path(entry.path), (status.st_size, status.st_mtime_ns)


def upload_all(s3: S3Client, folders: Sequence[OutputFolder]) -> None:
    """Upload every file. Raises TransferFailedError with the first that did not get there."""
    files = [(folder, path) for folder in folders for path, _ in files_below(folder.path)]
    with ThreadPoolExecutor(PARALLEL_COPIES) as pool:
        for _ in pool.map(lambda item: _upload(s3, *item), files):
            pass


def _upload(s3: S3Client, folder: OutputFolder, path: Path) -> None:
    bucket, prefix = split_uri(folder.s3_uri)
    name = path.relative_to(folder.path).as_posix()
    key = f"{prefix.rstrip('/')}/{name}" if prefix else name
    extra = (
        {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": folder.kms_key} if folder.kms_key else {}
    )
    try:
        s3.upload_file(str(path), bucket, key, ExtraArgs=extra)
    except (ClientError, BotoCoreError, S3UploadFailedError, OSError) as error:
        raise TransferFailedError(
            f"ClientError: Upload of {name} to {folder.s3_uri} failed: {error}"
        ) from error


class ContinuousUpload:
    """Uploads files as they appear, and again where they change, in no order.

    Used as a context manager. A file that is gone before its turn is passed over; `failure` is
    the first thing that went wrong, and nothing is uploaded after it. Leaving the context ends
    the watch without a last look: what a failed job wrote last may be missing, as on AWS.
    """

    def __init__(
        self,
        s3: S3Client,
        folders: Sequence[OutputFolder],
        *,
        rng: random.Random,
        interval_s: float,
    ) -> None:
        self._s3 = s3
        self._folders = folders
        self._rng = rng
        self._interval_s = interval_s
        self._seen: dict[Path, Signature] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="continuous-upload", daemon=True)
        self.failure: TransferFailedError | None = None

    def __enter__(self) -> ContinuousUpload:
        if self._folders:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def finish(self) -> None:
        """Upload what the watch has not. Raises TransferFailedError, its own failure first."""
        if self.failure is not None:
            raise self.failure
        for folder, path, _ in self._fresh():
            _upload(self._s3, folder, path)

    def _watch(self) -> None:
        while not self._ended.wait(self._interval_s):
            try:
                self._look()
            except TransferFailedError as error:
                self.failure = error
                return

    def _fresh(self) -> list[tuple[OutputFolder, Path, Signature]]:
        found = [
            (folder, path, signature)
            for folder in self._folders
            for path, signature in files_below(folder.path)
            if self._seen.get(path) != signature
        ]
        self._rng.shuffle(found)
        return found

    def _look(self) -> None:
        for folder, path, signature in self._fresh():
            if self._ended.is_set():
                return
            try:
                _upload(self._s3, folder, path)
            except TransferFailedError:
                if path.exists():
                    raise
                continue
            self._seen[path] = signature
