"""Documents for the stand-in's S3: the user's own files, or Python's documentation."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from embed_job.dry_run.stdlib_docs import write_stdlib_docs
from embed_job.errors import InputError, SpecError
from embed_job.spec import Fields
from launcher.local.objects import split_uri

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

DOCUMENTS = 1000
SHARES = (0.4, 0.25, 0.15, 0.1, 0.06, 0.03, 0.01)
"""Of the documents, an object each: skewed, as real prefixes are, so that sharing them out by
their number gives hosts unequal work."""

SAMPLE_FIELDS = ("id", "title", "body", "module")


def put_documents(s3: S3Client, uri: str, fields: Fields, *, folder: Path | None) -> int:
    """Put documents under an s3:// prefix; how many objects.

    folder: files to take; None for the sample. Raises InputError where the folder has no files,
    SpecError where the sample has not the spec's fields.
    """
    if folder is not None:
        return _put_files(s3, uri, _files_in(folder))
    wanted = [fields.id, *fields.text, *fields.metadata]
    missing = [name for name in wanted if name not in SAMPLE_FIELDS]
    if missing:
        raise SpecError(
            "input.fields",
            f"names '{missing[0]}', which the sample documents have not "
            f"(they have {', '.join(SAMPLE_FIELDS)})",
            "Give a folder of your own files: make submit-job … ON=local DOCUMENTS=my-data/.",
        )
    with tempfile.TemporaryDirectory() as scratch:
        return _put_files(s3, uri, _write_sample(Path(scratch)))


def _files_in(folder: Path) -> list[tuple[str, Path]]:
    found = [
        (path.relative_to(folder).as_posix(), path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    if not found:
        raise InputError(str(folder), "holds no files", "Name a folder of documents.")
    return found


def _write_sample(folder: Path) -> list[tuple[str, Path]]:
    whole = folder / "whole.jsonl"
    write_stdlib_docs(whole, count=DOCUMENTS)
    lines = whole.read_bytes().splitlines(keepends=True)
    files = []
    for number, part in enumerate(_parts(lines), start=1):
        path = folder / f"part-{number:02}.jsonl"
        path.write_bytes(b"".join(part))
        files.append((f"stdlib/{path.name}", path))
    return files


def _parts(lines: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    start = 0
    for number, share in enumerate(SHARES, start=1):
        end = len(lines) if number == len(SHARES) else start + round(share * len(lines))
        yield lines[start:end]
        start = end


def _put_files(s3: S3Client, uri: str, files: Sequence[tuple[str, Path]]) -> int:
    bucket, prefix = split_uri(uri)
    folder = f"{prefix.rstrip('/')}/" if prefix else ""
    for name, path in files:
        s3.upload_file(str(path), bucket, folder + name)
    return len(files)
