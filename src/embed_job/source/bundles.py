"""Bundles: small files gathered into one split, and which of the committed ones still stand.

Hosts see different files, and a job may be run again on another number of hosts. So nobody makes
anew what is committed already: a bundle stands as long as each of its files is in the input as it
was, its files are taken off, and only the rest is bundled. Where files were taken off, a bundle
ends, so that taking off a bundle leaves all others as they were.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from embed_job.source import Compression, Format, SourceFile, Split
from embed_job.source.listing import ListedFile, kind_of
from embed_job.source.sizes import split_bytes
from embed_job.spec import InputSpec

MAX_BUNDLE_FILES = 10_000
BUNDLE_CUTS = 4
"""Bundles end by a file's hash every 1/BUNDLE_CUTS of a split's size on average; one in e^4 grows
to the full size and is cut there."""

SMALL_FILE_BYTES = 1 << 20
"""A JSONL, CSV or TSV file under this size may go into a bundle: it has a thousand documents or so,
and a core takes two minutes for it at most. Text files, of one document each, go whatever their
size."""

MANY_FILES = 64
"""Of fewer small files, each makes splits and parts of its own, as a large one does: there is no
storm of parts, and a sample of 2 MB in some files keeps every core busy."""


Kind = tuple[Format, Compression]
"""Files of one kind share bundles; text files do so whatever their compression."""


@dataclass(frozen=True, slots=True)
class Bundled:
    """What a committed split holds: files as (name, version), range as in Split."""

    files: tuple[tuple[str, str], ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Standing:
    """Committed bundles that stay: their identities, and the names of the files in them."""

    splits: tuple[str, ...] = ()
    covered: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Survey:
    """The whole input as bundling needs it: how many files of a kind there are and how many bytes
    they have, and size and version of those files that committed bundles name."""

    files: Mapping[Kind, int]
    bytes: Mapping[Kind, int]
    present: Mapping[str, tuple[int, str]]

    def bundles(self, kind: Kind) -> bool:
        """Whether files of a kind are bundled at all."""
        return kind[0] is Format.TEXT or self.files[kind] >= MANY_FILES


def bundle_kind(name: str, size: int) -> Kind | None:
    """The kind of a file that may go into bundles; None for all others."""
    kind = kind_of(name)
    if kind is None or not size or kind[0] is Format.PARQUET:
        return None
    if kind[0] is Format.TEXT:
        return (Format.TEXT, Compression.NONE)
    return kind if size < SMALL_FILE_BYTES else None


def survey(listed: Iterable[ListedFile], committed: Iterable[Bundled]) -> Survey:
    """One pass over the input. Memory: what the committed splits name, whatever the input."""
    wanted = {name for bundle in committed for name, _ in bundle.files}
    files: defaultdict[Kind, int] = defaultdict(int)
    total: defaultdict[Kind, int] = defaultdict(int)
    present: dict[str, tuple[int, str]] = {}
    for name, size, version in listed:
        if name in wanted:
            present[name] = (size, version)
        if kind := bundle_kind(name, size):
            files[kind] += 1
            total[kind] += size
    return Survey(files, total, present)


def standing_bundles(committed: Mapping[str, Bundled], found: Survey) -> Standing:
    """The committed bundles whose files are all in the input as they were, each file in one only.

    committed: by identity; splits that are no bundles are passed over. Where two hold the same
    file, which happens when a file changes and changes back, the larger stands, on every host.
    """
    splits: list[str] = []
    covered: set[str] = set()
    for split, bundle in sorted(committed.items(), key=lambda item: (-len(item[1].files), item[0])):
        names = [name for name, _ in bundle.files]
        if _stands(bundle, found) and covered.isdisjoint(names):
            splits.append(split)
            covered.update(names)
    return Standing(tuple(splits), frozenset(covered))


def _stands(bundle: Bundled, found: Survey) -> bool:
    for name, version in bundle.files:
        size, now = found.present.get(name, (0, ""))
        kind = bundle_kind(name, size)
        if now != version or kind is None or bundle.start:
            return False
        if len(bundle.files) == 1 and not _is_bundle_of_one(bundle, kind, size, found):
            return False
    return True


def _is_bundle_of_one(bundle: Bundled, kind: Kind, size: int, found: Survey) -> bool:
    """Whether a split of one file is as a bundle would hold it: all of it."""
    return kind[0] is Format.TEXT or (bundle.end == size and found.bundles(kind))


def make_bundles(
    files: Sequence[SourceFile], spec: InputSpec, *, total_bytes: int, covered: frozenset[str]
) -> Iterator[Split]:
    """Whole files of one kind, up to a split's size together. Where a bundle ends mostly follows
    from the hash of its last file's name, so that a file more or less changes its own bundle only.

    total_bytes: of the kind in the whole input. covered: files that are in bundles already.
    """
    # A power of two, so that a little more text seldom moves all the bounds.
    size = split_bytes(total_bytes, spec)
    size = size if spec.split_mib is not None else 1 << (size.bit_length() - 1)
    held: list[SourceFile] = []
    held_bytes = 0
    for file in files:
        full = held_bytes + file.size > size or len(held) == MAX_BUNDLE_FILES
        if held and (full or file.name in covered):
            yield _bundle(held, held_bytes)
            held, held_bytes = [], 0
        if file.name in covered:
            continue
        held.append(file)
        held_bytes += file.size
        if _ends_bundle(file, size):
            yield _bundle(held, held_bytes)
            held, held_bytes = [], 0
    if held:
        yield _bundle(held, held_bytes)


def _bundle(files: list[SourceFile], size: int) -> Split:
    if len(files) == 1 and files[0].format is not Format.TEXT:
        return Split(tuple(files), 0, size, size)  # the range that is all of the file
    return Split(tuple(files), 0, len(files), size)


def _ends_bundle(file: SourceFile, size: int) -> bool:
    """True for a share of the files that grows with their size, and for one in 2,500 at least."""
    draw = int.from_bytes(hashlib.sha256(file.name.encode()).digest()[:8]) / 2**64
    return draw < max(BUNDLE_CUTS * file.size / size, BUNDLE_CUTS / MAX_BUNDLE_FILES)
