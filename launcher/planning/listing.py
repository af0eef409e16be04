"""The input listed once, as it streams by: facts in bounded memory, and the hosts' listing file."""

from __future__ import annotations

import heapq
import random
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embed_job.errors import InputError
from embed_job.fleet.order import LISTING_FILE, LISTING_SCHEMA, write_listing
from embed_job.source import Compression, Format, SourceFile, version_of_etag
from embed_job.source.listing import FORMATS, KNOWN, kind_of
from embed_job.storage import Store, StoredFile

BATCH_ROWS = 32 << 10
MAX_NAMES = 1000
LARGEST = 5
DRAWN_PER_KIND = 32
MAX_COMPONENT = 255
"""Bytes between two slashes that a file system takes."""

Kind = tuple[Format, Compression] | None
KINDS: tuple[Kind, ...] = (
    None,
    *[(kind, Compression.NONE) for kind in Format],
    *[(kind, how) for kind in Format for how in (Compression.GZIP, Compression.ZSTD)],
)
"""What an object may be; None: nothing to embed (of unknown ending, or hidden)."""
_CODES = {kind: code for code, kind in enumerate(KINDS)}
_PLAIN = {ending: _CODES[(kind, Compression.NONE)] for ending, kind in FORMATS.items()}


@dataclass(frozen=True, slots=True)
class KindFacts:
    """Documents' files of one kind, such as ``jsonl`` or ``csv.gzip``."""

    name: str
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class ListingFacts:
    """The input, without its names.

    uri: the folder that names are below, ending in ``/``. single: whether the input is one object.
    sizes, codes: of every object in order of the keys, those without documents included, for S3
    shares out all of them; codes index KINDS. files, bytes, empty: of what holds documents.
    largest: name and size of some, largest first. drawn: files to sample, drawn by size within
    their kind. ignored, hidden: counts; ignored_names: the first of them. unfit: some names that
    can't be copied to a disk as they are.
    """

    uri: str
    single: bool
    sizes: npt.NDArray[np.int64]
    codes: npt.NDArray[np.uint8]
    kinds: tuple[KindFacts, ...]
    files: int
    bytes: int
    empty: int
    largest: tuple[tuple[str, int], ...]
    drawn: tuple[SourceFile, ...]
    ignored: int
    ignored_names: tuple[str, ...]
    hidden: int
    unfit: tuple[str, ...] = ()

    @property
    def objects(self) -> int:
        """All objects under the prefix."""
        return len(self.sizes)

    def weights(self) -> npt.NDArray[np.int64]:
        """Bytes to embed of each object; 0 where it holds no documents."""
        return np.where(self.codes > 0, self.sizes, 0)


def list_objects(store: Store, uri: str, folder: Path, *, seed: int = 0) -> ListingFacts:
    """List a prefix, or one object, and write LISTING_FILE into a folder.

    9 bytes of memory an object, and a batch of 32,768 of them. Raises InputError where nothing
    is there, or where a compressed Parquet file is.
    """
    tally = _Tally(uri.rstrip("/"), random.Random(seed))  # noqa: S311 - a sample, no secret
    try:
        write_listing(folder / LISTING_FILE, tally.batches(store.list(uri.rstrip("/"))))
    except FileNotFoundError as error:
        raise InputError(
            uri, "there is nothing under this prefix", "Check input.uri: `aws s3 ls` shows it."
        ) from error
    except PermissionError as error:
        raise InputError(
            uri, f"may not be listed ({error})", "Grant s3:ListBucket on the bucket."
        ) from error
    return tally.facts()


def code_of(name: str) -> int:
    """Index into KINDS by a name's ending, as :func:`embed_job.source.listing.kind_of` has it.

    0 where the ending is unknown. Raises InputError for compressed Parquet.
    """
    plain = _PLAIN.get(name[name.rfind(".") :])
    # A name that is nothing but an ending has none.
    if plain is not None and not name.rpartition("/")[2].startswith("."):
        return plain
    return _CODES[kind_of(name)]


def is_hidden(name: str) -> bool:
    """Whether a file or a folder above it begins with ``.`` or ``_``."""
    return name[:1] in {".", "_"} or "/." in name or "/_" in name


def name_of_kind(kind: Kind) -> str:
    """As shown: ``jsonl``, ``csv.gzip``."""
    if kind is None:
        return "ignored"
    form, how = kind
    return form.value if how is Compression.NONE else f"{form.value}.{how.value}"


def _is_unfit(name: str) -> bool:
    """Whether a name can't be a path: an empty component, or one of more than 255 bytes."""
    if name[:1] == "/" or "//" in name:
        return True
    return len(name) > MAX_COMPONENT // 4 and any(
        len(part.encode()) > MAX_COMPONENT for part in name.split("/")
    )


@dataclass(slots=True)
class _Tally:
    """Adds up a stream of objects."""

    folder: str
    rng: random.Random
    single: bool = False
    sizes: array[int] = field(default_factory=lambda: array("q"))
    codes: bytearray = field(default_factory=bytearray)
    ignored_names: list[str] = field(default_factory=list)
    ignored: int = 0
    hidden: int = 0
    unfit: list[str] = field(default_factory=list)
    largest: list[tuple[int, str]] = field(default_factory=list)
    drawn: dict[int, list[tuple[float, str, int, str]]] = field(default_factory=dict)

    def batches(self, objects: Iterator[StoredFile]) -> Iterator[pa.RecordBatch]:
        """The listing's rows, counted as they pass."""
        while batch := list(islice(objects, BATCH_ROWS)):
            if not self.sizes and batch[0].key == self.folder:
                self._begin_single(batch[0].key)
            yield self._batch(batch)

    def _begin_single(self, key: str) -> None:
        self.single = True
        self.folder = key.rpartition("/")[0]
        name = PurePosixPath(key).name
        if kind_of(name) is None:
            raise InputError(key, "a file of an unknown kind", f"Known are {KNOWN}.")

    def _batch(self, objects: list[StoredFile]) -> pa.RecordBatch:
        start = len(self.folder) + 1
        names = [stored.key[start:] for stored in objects]
        sizes = [stored.size for stored in objects]
        etags = [stored.etag or "" for stored in objects]
        codes = [self._code(name) for name in names]
        self.sizes.extend(sizes)
        self.codes.extend(codes)
        if not all(codes):
            names = [name for name, code in zip(names, codes, strict=True) if code]
            sizes = [size for size, code in zip(sizes, codes, strict=True) if code]
            etags = [etag for etag, code in zip(etags, codes, strict=True) if code]
            codes = [code for code in codes if code]
        self._remember(names, sizes, codes, etags)
        columns = zip((names, sizes, etags), LISTING_SCHEMA.types, strict=True)
        return pa.RecordBatch.from_arrays(
            [pa.array(column, kind) for column, kind in columns], schema=LISTING_SCHEMA
        )

    def _code(self, name: str) -> int:
        if is_hidden(name) and not self.single:
            self.hidden += 1
            return 0
        code = code_of(name)
        if not code:
            self._ignore(name)
        elif len(self.unfit) < LARGEST and _is_unfit(name):
            self.unfit.append(name)
        return code

    def _ignore(self, name: str) -> None:
        self.ignored += 1
        if len(self.ignored_names) < MAX_NAMES:
            self.ignored_names.append(name)

    def _remember(
        self, names: list[str], sizes: list[int], codes: list[int], etags: list[str]
    ) -> None:
        """Keep the largest, and a sample of each kind drawn by size (Efraimidis and Spirakis:
        the greatest of u^(1/size), here by its logarithm)."""
        if not names:
            return
        weight = np.array(sizes, np.float64)
        top = np.argsort(-weight, kind="stable")[:LARGEST]
        self.largest = heapq.nlargest(
            LARGEST, [*self.largest, *((sizes[at], names[at]) for at in top)], key=lambda x: x[0]
        )
        dice = np.random.default_rng(self.rng.getrandbits(64)).random(len(names))
        draw = np.log(np.maximum(dice, 1e-300)) / np.maximum(weight, 1e-9)
        coded = np.array(codes, np.uint8)
        for code in np.unique(coded):
            places = np.flatnonzero((coded == code) & (weight > 0))
            best = places[np.argsort(-draw[places])[:DRAWN_PER_KIND]]
            found = [(float(draw[at]), names[at], sizes[at], etags[at]) for at in best]
            before = self.drawn.get(int(code), [])
            self.drawn[int(code)] = heapq.nlargest(DRAWN_PER_KIND, [*before, *found])

    def facts(self) -> ListingFacts:
        sizes = np.frombuffer(self.sizes, np.int64) if self.sizes else np.zeros(0, np.int64)
        codes = np.frombuffer(self.codes, np.uint8) if self.codes else np.zeros(0, np.uint8)
        kinds = []
        for code in range(1, len(KINDS)):
            of_kind = codes == code
            if files := int(of_kind.sum()):
                total = int(sizes[of_kind].sum())
                kinds.append(KindFacts(name_of_kind(KINDS[code]), files, total))
        return ListingFacts(
            uri=self.folder + "/",
            single=self.single,
            sizes=sizes,
            codes=codes,
            kinds=tuple(kinds),
            files=sum(kind.files for kind in kinds),
            bytes=sum(kind.bytes for kind in kinds),
            empty=int(((codes > 0) & (sizes == 0)).sum()),
            largest=tuple((name, size) for size, name in self.largest),
            drawn=tuple(self._drawn_files()),
            ignored=self.ignored,
            ignored_names=tuple(self.ignored_names),
            hidden=self.hidden,
            unfit=tuple(self.unfit),
        )

    def _drawn_files(self) -> Iterator[SourceFile]:
        for code, found in sorted(self.drawn.items()):
            kind = KINDS[code]
            for _, name, size, etag in found if kind else ():
                key = f"{self.folder}/{name}"
                yield SourceFile(key, name, size, version_of_etag(etag), *kind)  # type: ignore[misc]
