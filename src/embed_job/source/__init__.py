"""From files to documents: list them, cut them into splits, read a split."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum


class Format(StrEnum):
    JSONL = "jsonl"
    CSV = "csv"
    TSV = "tsv"
    PARQUET = "parquet"
    TEXT = "text"
    """One document a file: .txt and .md."""


class Compression(StrEnum):
    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of the input.

    key: its whole address. name: its path below the input's folder, the same on every host.
    size: bytes as stored. version: ``etag:…`` or, for local files, ``sha256:…``: other content,
    other version.
    """

    key: str
    name: str
    size: int
    version: str
    format: Format
    compression: Compression

    @property
    def etag(self) -> str | None:
        """The store's ETag of the file as listed; None for local files."""
        kind, _, etag = self.version.partition(":")
        return etag if kind == "etag" else None


@dataclass(frozen=True, slots=True)
class Split:
    """A unit of work: a range of one file, or a bundle of small whole files.

    [start, end) is in bytes for JSONL, CSV and TSV (a record belongs to the split in which its
    first byte lies), in row groups for Parquet, and in files of `files` for a bundle. A compressed
    file is one split, start 0 and end its stored size. bytes: stored size of the range, to weigh
    it by.
    """

    files: tuple[SourceFile, ...]
    start: int
    end: int
    bytes: int

    @property
    def pieces(self) -> tuple[Split, ...]:
        """Ranges of one file each: the split itself, or each file of a bundle of JSONL, CSV or TSV
        as a split of its own. A bundle of text files, whose files are its records, stays whole."""
        if len(self.files) == 1 or self.files[0].format is Format.TEXT:
            return (self,)
        files = self.files[self.start : self.end]
        return tuple(Split((file,), 0, file.size, file.size) for file in files)

    def identity(self, fingerprint: str) -> str:
        """sha256 over (name, version) of each file, the range and the fingerprint, in hex.

        It follows from the content alone, never from host, host count or time.
        """
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(f"{file.name}\0{file.version}\0".encode())
        digest.update(f"{self.start}\0{self.end}\0{fingerprint}".encode())
        return digest.hexdigest()


def version_of_etag(etag: str) -> str:
    """A store's ETag as a file's version."""
    return f"etag:{etag.strip(chr(34))}"
