"""What the input consists of: a file, a folder, a glob or an S3 prefix as source files."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import PurePosixPath

from embed_job.errors import InputError
from embed_job.source import Compression, Format, SourceFile, version_of_etag
from embed_job.source.blocks import read_range
from embed_job.storage import Store, StoredFile, resolve

FORMATS = {
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".csv": Format.CSV,
    ".tsv": Format.TSV,
    ".parquet": Format.PARQUET,
    ".txt": Format.TEXT,
    ".md": Format.TEXT,
}
COMPRESSIONS = {".gz": Compression.GZIP, ".zst": Compression.ZSTD}
KNOWN = f"{' '.join(FORMATS)}, and .gz or .zst of all but .parquet"
MAX_SIBLINGS = 1000
_GLOB = re.compile(r"[*?\[]")


ListedFile = tuple[str, int, str]
"""Name, size in bytes and version of a file, without the rest of a SourceFile."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The input's files by name. ignored: names of files of an unknown ending, which the report
    lists. hidden: how many names begin with ``.`` or ``_`` (``_SUCCESS``, ``.crc``), files or
    folders above them. whole: streams the whole input where `files` is only a part of it."""

    files: tuple[SourceFile, ...]
    ignored: tuple[str, ...] = ()
    hidden: int = 0
    whole: Callable[[], Iterator[ListedFile]] | None = None

    def everything(self) -> Iterator[ListedFile]:
        """Every file of the whole input, in order of their names."""
        if self.whole is not None:
            return self.whole()
        return ((file.name, file.size, file.version) for file in self.files)


def list_input(store: Store, uri: str) -> Listing:
    """The files that uri names; an empty folder is an empty listing.

    InputError: it is missing, unreadable, a glob without a match, a single file of an unknown
    ending, or holds a compressed Parquet file.
    """
    key = resolve(uri)
    try:
        return _listing(store, uri, key)
    except FileNotFoundError as error:
        raise InputError(uri, "no such file or folder", _nearest(store, key)) from error
    except PermissionError as error:
        where = str(error.filename or uri)
        raise InputError(where, "it may not be read", "Grant read access to it.") from error


def _listing(store: Store, uri: str, key: str) -> Listing:
    folder = key.rstrip("/") or "/"
    try:
        found = _all(store, folder, key)
    except FileNotFoundError:
        if not _GLOB.search(key):
            raise
        return _globbed(store, uri, folder)
    if len(found) == 1 and found[0].key == folder:
        return Listing((_single(store, found[0]),))
    return _sorted_out(store, [(relative_name(file.key, folder), file) for file in found])


def _all(store: Store, folder: str, key: str) -> list[StoredFile]:
    found = list(store.list(folder))
    if not found and key.startswith("s3://"):
        # S3 knows no empty folders: a prefix without keys is a typing error more often than not.
        raise FileNotFoundError(key)
    return found


def _globbed(store: Store, uri: str, pattern: str) -> Listing:
    first = _GLOB.search(pattern)
    base = pattern[: pattern.rindex("/", 0, first.start())] if first else pattern
    matches = re.compile(glob_regex(pattern[len(base) + 1 :])).fullmatch
    named = [(relative_name(file.key, base), file) for file in store.list(base or "/")]
    found = [(name, file) for name, file in named if matches(name)]
    if not found:
        what = f"the pattern matches none of {len(named)} files below {base or '/'}"
        raise InputError(uri, what, "* stays within a folder; ** crosses folders.")
    return _sorted_out(store, found)


def glob_regex(pattern: str) -> str:
    """A glob as a regular expression: ``*`` and ``?`` stop at ``/``, ``**`` does not."""
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    tokens = re.findall(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]|.", pattern, re.DOTALL)
    return "".join(parts.get(token) or _class_or_literal(token) for token in tokens)


def _class_or_literal(token: str) -> str:
    if len(token) == 1:
        return re.escape(token)
    negated = token[1] == "!"
    body = token[2 if negated else 1 : -1].replace("\\", r"\\").replace("[", r"\[")
    body = body.replace("^", r"\^") if body.startswith("^") else body
    body = re.sub(r"[\]&~|]", lambda found: "\\" + found.group(), body)
    return f"(?!/)[{'^' if negated else ''}{body}]"


def _sorted_out(store: Store, found: list[tuple[str, StoredFile]]) -> Listing:
    files: list[SourceFile] = []
    ignored: list[str] = []
    hidden = 0
    for name, stored in sorted(found, key=lambda pair: pair[0]):
        _check_name(name)
        if is_hidden(name):
            hidden += 1
        elif (kind := kind_of(name)) is None:
            ignored.append(name)
        else:
            files.append(_source_file(store, stored, name, kind))
    return Listing(tuple(files), tuple(ignored), hidden)


def is_hidden(name: str) -> bool:
    """Whether a file, or a folder above it, is none of the input's: ``_SUCCESS``, ``.crc``."""
    return any(part.startswith((".", "_")) for part in name.split("/"))


def _check_name(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        hint = "Rename it: names become part of ids and manifests."
        raise InputError(ascii(name), "a file name that is not UTF-8", hint) from error


def _single(store: Store, stored: StoredFile) -> SourceFile:
    name = PurePosixPath(stored.key).name
    _check_name(name)
    kind = kind_of(name)
    if kind is None:
        raise InputError(stored.key, "a file of an unknown kind", f"Known are {KNOWN}.")
    return _source_file(store, stored, name, kind)


def kind_of(name: str) -> tuple[Format, Compression] | None:
    """Format and compression by a name's ending; None where it is unknown."""
    last = name.rpartition("/")[2].lstrip(".")
    kind = _kind_of_suffixes(tuple(last.lower().split(".")[1:][-2:]))
    if kind is not None and kind[0] is Format.PARQUET and kind[1] is not Compression.NONE:
        what = "a compressed Parquet file can't be read in parts"
        raise InputError(name, what, "Decompress it; Parquet is compressed inside already.")
    return kind


@lru_cache(maxsize=1024)
def _kind_of_suffixes(suffixes: tuple[str, ...]) -> tuple[Format, Compression] | None:
    """By the last two suffixes, without their dots."""
    if not suffixes:
        return None
    compression = COMPRESSIONS.get(f".{suffixes[-1]}", Compression.NONE)
    if compression is not Compression.NONE:
        suffixes = suffixes[:-1]
    known = FORMATS.get(f".{suffixes[-1]}") if suffixes else None
    return None if known is None else (known, compression)


def _source_file(
    store: Store, stored: StoredFile, name: str, kind: tuple[Format, Compression]
) -> SourceFile:
    if stored.etag is not None:
        version = version_of_etag(stored.etag)
    else:
        digest = hashlib.sha256()
        for block in read_range(store, stored.key, 0, None):
            digest.update(block)
        version = f"sha256:{digest.hexdigest()}"
    return SourceFile(stored.key, name, stored.size, version, *kind)


def key_of(uri: str, name: str) -> str:
    """The key of an input's file by its name: below uri, or uri itself where that is the file."""
    return uri if uri.rpartition("/")[2] == name else f"{uri.rstrip('/')}/{name}"


def input_folder(listing: Listing, uri: str) -> str:
    """The folder that names of an input's files are below, which a glob does not tell by itself."""
    if not listing.files:
        return resolve(uri).rstrip("/")
    first = listing.files[0]
    return first.key.removesuffix(first.name).rstrip("/")


def relative_name(key: str, folder: str) -> str:
    """A file's name below a folder."""
    return key[len(folder) :].removeprefix("/")


def _nearest(store: Store, key: str) -> str:
    """A hint: what lies beside the missing name and is spelled most like it."""
    parent, _, name = key.rstrip("/").rpartition("/")
    try:
        siblings = sorted(set(islice(_children(store, parent), MAX_SIBLINGS)))
    except (FileNotFoundError, PermissionError):
        return f"There is no {parent} either: check the path."
    except InputError:
        return "Check the path."
    near = difflib.get_close_matches(name, siblings, n=1, cutoff=0.5)
    shown = near or siblings[:3] or ["nothing"]
    return f"{parent} holds {', '.join(shown)}."


def _children(store: Store, folder: str) -> Iterator[str]:
    for file in store.list(folder):
        yield relative_name(file.key, folder).split("/", 1)[0]
