"""Refused records: where each stands in its source, and why it was refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from embed_job.manifest import SplitManifest
from embed_job.records import Rejection
from embed_job.source import SourceFile
from embed_job.source.listing import key_of
from embed_job.storage import Store, join


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One refused record: enough to find it and read it again, without a copy of it.

    file is its name below the input, key its address, version the content it was read from.
    line counts from 1 at the split's start (for Parquet: the row of the file); ordinal from 0,
    the split's records. byte_offset and length are of the uncompressed file.
    """

    file: str
    key: str
    version: str
    line: int
    byte_offset: int | None
    length: int | None
    ordinal: int
    id: str | None
    reason: str
    stage: str
    detail: str


class DeadLetters:
    """The dead letters of one attempt, a :class:`DeadLetter` as JSON a line."""

    def __init__(self, path: Path, files: Iterable[SourceFile], *, input_uri: str) -> None:
        """files: those of the split. input_uri: where others find them, when what was read is a
        copy that lasts as long as its host."""
        self._path = path
        self._files = {file.key: file for file in files}
        self._input_uri = input_uri
        self._stream = path.open("wb")
        self._count = 0

    def add(self, rejection: Rejection) -> None:
        file = self._files[rejection.key]
        copied = self._input_uri.startswith("s3://") and not file.key.startswith("s3://")
        letter = DeadLetter(
            file=file.name,
            key=key_of(self._input_uri, file.name) if copied else file.key,
            version=file.version,
            line=rejection.line,
            byte_offset=rejection.byte_offset,
            length=rejection.length,
            ordinal=rejection.ordinal,
            id=rejection.doc_id,
            reason=rejection.reason.value,
            stage=rejection.stage.value,
            detail=rejection.detail,
        )
        self._stream.write(orjson.dumps(letter, option=orjson.OPT_APPEND_NEWLINE))
        self._count += 1

    def close(self, store: Store, folder: str, name: str) -> str | None:
        """Move them below the output's folder; None where there were none."""
        self._stream.close()
        if not self._count:
            self._path.unlink()
            return None
        store.upload(self._path, join(folder, name))
        return name

    def abort(self) -> None:
        self._stream.close()
        self._path.unlink(missing_ok=True)


def read_letters(store: Store, key: str) -> Iterator[DeadLetter]:
    """The dead letters of one split, in the order in which they were refused."""
    for line in store.read(key).splitlines():
        yield DeadLetter(**orjson.loads(line))


def first_letters(
    store: Store, folder: str, manifests: Iterable[SplitManifest], *, limit: int
) -> Iterator[DeadLetter]:
    """The first dead letters of a job, their lines counted from the beginning of the file.

    manifests: all of the job's, in the order of the input.
    """
    lines_before: dict[tuple[str, str], int] = {}
    for manifest in manifests:
        file = manifest.source.files[0]
        before = lines_before.get(file, 0)
        lines_before[file] = before + manifest.counts.lines
        if manifest.dead_letters is None:
            continue
        for letter in read_letters(store, join(folder, manifest.dead_letters)):
            yield replace(letter, line=letter.line + before)
            limit -= 1
            if limit == 0:
                return
