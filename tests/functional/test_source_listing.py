"""What the input consists of, and what a wrong path is answered with."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from embed_job.errors import InputError
from embed_job.source import Compression, Format
from embed_job.source.listing import Listing, list_input
from embed_job.storage import ByteStream, StoredFile
from embed_job.storage.local import LocalStore


class Bucket(LocalStore):
    """The listing half of an S3 store: keys with ETags, no folders."""

    def __init__(self, *keys: str) -> None:
        self.keys = sorted(keys)

    def list(self, prefix: str) -> Iterator[StoredFile]:
        for key in self.keys:
            if key == prefix or key.startswith(prefix.rstrip("/") + "/"):
                yield StoredFile(key, 7, '"abc"')


def names(listing: Listing) -> list[str]:
    return [file.name for file in listing.files]


def write(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)


def test_a_folder_is_listed_whole_and_nothing_vanishes(tmp_path: Path) -> None:
    write(
        tmp_path,
        *["b.jsonl", "a/x.CSV", "a/y.tsv.gz", "c.ndjson.zst", "n.md", "v1.2.txt", "z.parquet"],
        *["odd.pdf", "README", "_SUCCESS", ".hidden/a.jsonl", "a/_tmp/b.csv"],
    )
    listing = list_input(LocalStore(), str(tmp_path))
    assert names(listing) == [
        *["a/x.CSV", "a/y.tsv.gz", "b.jsonl", "c.ndjson.zst", "n.md", "v1.2.txt", "z.parquet"]
    ]
    assert listing.ignored == ("README", "odd.pdf")
    assert listing.hidden == 3
    kinds = {file.name: (file.format, file.compression) for file in listing.files}
    assert kinds["a/y.tsv.gz"] == (Format.TSV, Compression.GZIP)
    assert kinds["c.ndjson.zst"] == (Format.JSONL, Compression.ZSTD)
    assert kinds["v1.2.txt"] == (Format.TEXT, Compression.NONE)
    content = hashlib.sha256(b"b.jsonl").hexdigest()
    assert {f.version for f in listing.files if f.name == "b.jsonl"} == {f"sha256:{content}"}


def test_a_file_is_named_by_its_own_name(tmp_path: Path) -> None:
    write(tmp_path, "_deep/x.jsonl")
    [file] = list_input(LocalStore(), str(tmp_path / "_deep/x.jsonl")).files
    assert (file.name, file.key) == ("x.jsonl", str(tmp_path / "_deep/x.jsonl"))


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jsonl", ["a.jsonl"]),
        ("**/*.jsonl", ["a.jsonl", "sub/b.jsonl", "sub/deep/c.jsonl"]),
        ("sub/*.jsonl", ["b.jsonl"]),
        ("s?b/**", ["sub/b.jsonl", "sub/deep/c.jsonl"]),
        ("[a-b].jsonl", ["a.jsonl"]),
        ("[!b].jsonl", ["a.jsonl"]),
    ],
)
def test_globs(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    write(tmp_path, "a.jsonl", "sub/b.jsonl", "sub/deep/c.jsonl")
    found = names(list_input(LocalStore(), f"{tmp_path}/{pattern}"))
    prefix = "sub/" if pattern.startswith("sub/") else ""
    assert [prefix + name for name in found] == [prefix + name for name in expected]


def test_a_name_with_brackets_is_a_name_first(tmp_path: Path) -> None:
    write(tmp_path, "a[1].jsonl", "a1.jsonl")
    assert names(list_input(LocalStore(), f"{tmp_path}/a[1].jsonl")) == ["a[1].jsonl"]


def test_an_empty_folder_is_an_empty_listing(tmp_path: Path) -> None:
    assert list_input(LocalStore(), str(tmp_path)) == Listing(())


def test_s3_prefixes_and_globs() -> None:
    bucket = Bucket("s3://b/kb/a.jsonl", "s3://b/kb/x/b.csv", "s3://b/kb2/c.csv")
    listing = list_input(bucket, "s3://b/kb/")
    assert [(file.name, file.version) for file in listing.files] == [
        ("a.jsonl", "etag:abc"),
        ("x/b.csv", "etag:abc"),
    ]
    assert names(list_input(bucket, "s3://b/kb*/*.csv")) == ["kb2/c.csv"]


def test_an_s3_prefix_without_keys_is_missing() -> None:
    with pytest.raises(InputError, match=r"no such file or folder.*s3://b holds kb\."):
        list_input(Bucket("s3://b/kb/a.jsonl"), "s3://b/bk/")


def test_a_missing_path_names_its_nearest_neighbour(tmp_path: Path) -> None:
    write(tmp_path, "articles.jsonl", "other.txt")
    with pytest.raises(InputError, match=r"articels\.jsonl: no such file.*holds articles\.jsonl"):
        list_input(LocalStore(), str(tmp_path / "articels.jsonl"))


def test_a_glob_without_a_match_is_a_mistake(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl")
    with pytest.raises(InputError, match="matches none of 1 files"):
        list_input(LocalStore(), f"{tmp_path}/*.csv")


def test_a_file_of_an_unknown_kind_is_a_mistake(tmp_path: Path) -> None:
    write(tmp_path, "a.pdf")
    with pytest.raises(InputError, match=r"unknown kind.*\.jsonl"):
        list_input(LocalStore(), str(tmp_path / "a.pdf"))


def test_compressed_parquet_is_refused_with_the_reason(tmp_path: Path) -> None:
    write(tmp_path, "a.parquet.gz")
    for path in (tmp_path, tmp_path / "a.parquet.gz"):
        with pytest.raises(InputError, match=r"compressed Parquet.*Decompress it"):
            list_input(LocalStore(), str(path))


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("x")
    with pytest.raises(InputError, match="not UTF-8"):
        list_input(LocalStore(), str(tmp_path))


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    class Locked(LocalStore):
        def open_range(self, key: str, *_: object, **__: object) -> ByteStream:
            raise PermissionError(13, "Permission denied", key)

    write(tmp_path, "a.jsonl")
    with pytest.raises(InputError, match=r"a\.jsonl: it may not be read"):
        list_input(Locked(), str(tmp_path))
