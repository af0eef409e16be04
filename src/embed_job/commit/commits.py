"""The manifests of an output folder: whose it is, which splits are committed, what is left over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pydantic

from embed_job.errors import OutputError
from embed_job.manifest import DatasetDescriptor, JobManifest, Record, SplitManifest
from embed_job.storage import Store, join, list_files
from embed_job.storage.local import LocalStore

PRIVATE = "_embed_job"
"""Folder of everything that is not rows; readers of Parquet folders pass over a leading _."""

RETIRED = "retired"
"""Folder, in the private one, of what later generations have replaced, by their numbers."""

_PARALLEL_READS = 16

R = TypeVar("R", bound=Record)


class Commits:
    """The committed state of one output folder. store: which holds it.

    Everything is created at most once (``If-None-Match: *``), so any number of writers may race:
    one wins, the others learn it.
    """

    def __init__(self, store: Store, folder: str, *, earlier: str | None = None) -> None:
        """earlier: a local folder with manifests of earlier runs, where the output's own folder
        does not hold them."""
        self.store = store
        self.folder = folder.rstrip("/")
        self._earlier = earlier

    def key(self, *names: str) -> str:
        """Key of a private file."""
        return join(self.folder, PRIVATE, *names)

    def descriptor(self) -> DatasetDescriptor | None:
        """Whose folder this is; None where nobody has claimed it."""
        return self._read(self.key("dataset.json"), DatasetDescriptor)

    def existing(self) -> DatasetDescriptor:
        """Whose folder this is. Raises OutputError where it is no output at all."""
        found = self.descriptor()
        if found is None:
            raise OutputError(
                self.folder, "is not an output of embed-job", "Name the folder of an output."
            )
        return found

    def claim(self, wanted: DatasetDescriptor) -> DatasetDescriptor:
        """Take the folder for a job, or check that it is this job's already.

        Returns the descriptor in force. Raises OutputError where the folder is another's, or
        holds Parquet files of nobody's.
        """
        found = self.descriptor()
        if found is None:
            foreign = self._foreign_file()
            # Another host may have claimed it meanwhile, and written.
            found = self.descriptor()
        if found is None:
            if foreign is not None:
                raise OutputError(
                    self.folder,
                    f"holds Parquet files that no job of ours has written, such as {foreign}",
                    "Name an empty folder as the output.",
                )
            if self.store.create(self.key("dataset.json"), encode_record(wanted)):
                return wanted
            found = self.descriptor()
        if found is None:
            raise OutputError(self.folder, "its descriptor came and went", "Run again.")
        check_same(self.folder, found, wanted)
        return found

    def _foreign_file(self) -> str | None:
        """A Parquet file in the folder, outside of what is private to us."""
        private = f"{self.key()}/"
        found = (file for file in self._list(self.folder) if file.endswith(".parquet"))
        return next((file for file in found if not file.startswith(private)), None)

    def committed(self, fingerprint: str) -> dict[str, SplitManifest]:
        """Every committed split by its identity. Raises OutputError on a foreign manifest."""
        manifests = self._manifests(self.store, self.key("manifests"))
        if self._earlier is not None:
            manifests = self._manifests(LocalStore(), self._earlier) | manifests
        for manifest in manifests.values():
            if manifest.fingerprint != fingerprint:
                raise OutputError(
                    self.key("manifests", f"{manifest.split}.json"),
                    f"has the fingerprint {manifest.fingerprint[:12]}, not {fingerprint[:12]}",
                    "Two fingerprints never mix: name another output folder.",
                )
        return manifests

    def _manifests(self, store: Store, folder: str) -> dict[str, SplitManifest]:
        keys = [key for key in _keys(store, folder) if key.endswith(".json")]
        return {manifest.split: manifest for manifest in _manifests_at(store, keys) if manifest}

    def committed_names(self) -> set[str]:
        """Identities of the committed splits, by the names of their manifests alone."""
        keys = self._list(self.key("manifests"))
        return {key.rpartition("/")[2].removesuffix(".json") for key in keys}

    def manifest(self, split: str) -> SplitManifest | None:
        """The commit of one split; None where it is not committed."""
        return self._read(self.key("manifests", f"{split}.json"), SplitManifest)

    def commit(self, manifest: SplitManifest) -> bool:
        """Commit a split; False where another attempt has committed it before."""
        return self.store.create(
            self.key("manifests", f"{manifest.split}.json"), encode_record(manifest)
        )

    def job(self) -> JobManifest | None:
        """The job manifest of the last run that was a success; None before that."""
        return self._read(self.key("job.json"), JobManifest)

    def generation(self) -> int:
        """Of the last run that was a success; 0 before that."""
        job = self.job()
        return job.generation if job else 0

    def tagged_job(self) -> tuple[JobManifest | None, str | None]:
        """As job, with the tag by which commit_job replaces it."""
        key = self.key("job.json")
        try:
            read = self.store.read_tagged(key)
        except FileNotFoundError:
            return None, None
        return decode_record(key, read.data, JobManifest), read.tag

    def commit_job(self, manifest: JobManifest, *, tag: str | None) -> bool:
        """Commit the whole job in the place of the one that was read; from here on, the splits that
        it names are those that count. False where another has been committed since."""
        return self.store.swap(self.key("job.json"), encode_record(manifest), tag=tag)

    def retired(self) -> list[tuple[str, SplitManifest]]:
        """Splits that a later generation has replaced and whose parts are all kept, the newest
        first: the folder in which their files lie as they lay in the output's, and the manifest."""
        sizes = {file.key: file.size for file in list_files(self.store, self.key(RETIRED))}
        ending = f"/{PRIVATE}/manifests/"
        keys = [key for key in reversed(sizes) if ending in key and key.endswith(".json")]
        found = zip(keys, self.manifests_at(keys), strict=True)
        kept = [(key.rpartition(ending)[0], manifest) for key, manifest in found if manifest]
        return [
            (folder, manifest)
            for folder, manifest in kept
            if all(sizes.get(join(folder, part.name)) == part.bytes for part in manifest.parts)
        ]

    def manifests_at(self, keys: Sequence[str]) -> list[SplitManifest | None]:
        """Manifests by their keys; None for one that is not there."""
        return _manifests_at(self.store, keys)

    def incomplete(self, manifests: Iterable[SplitManifest]) -> dict[str, str]:
        """Splits of which a file is not there as their manifest names it: split to what is wrong.

        Lists the folder once. Manifests must have been read before, for what they name is older.
        """
        counted = list(manifests)
        awaited = {name: size for manifest in counted for name, size in _sizes(manifest)}
        other: dict[str, int] = {}
        start = len(self.folder) + 1
        for file in list_files(self.store, self.folder):
            name = file.key[start:]
            if name in awaited and awaited[name] not in (None, file.size):
                other[name] = file.size
            else:
                awaited.pop(name, None)
        wrong: dict[str, str] = {}
        for manifest in counted if awaited else ():
            for name, size in _sizes(manifest):
                if name in other:
                    wrong[manifest.split] = f"{name} has {other[name]:,} bytes, not {size:,}"
                elif name in awaited:
                    wrong[manifest.split] = f"{name} is missing"
        return wrong

    def withdraw(self, manifest: SplitManifest) -> None:
        """Take back the commit of a split, unless another attempt has committed it since."""
        if self.manifest(manifest.split) == manifest:
            self.store.delete(self.key("manifests", f"{manifest.split}.json"))

    def _list(self, folder: str) -> Iterator[str]:
        return _keys(self.store, folder)

    def _read(self, key: str, kind: type[R]) -> R | None:
        return read_record(self.store, key, kind)


def _keys(store: Store, folder: str) -> Iterator[str]:
    return (file.key for file in list_files(store, folder))


def _manifests_at(store: Store, keys: Sequence[str]) -> list[SplitManifest | None]:
    with ThreadPoolExecutor(_PARALLEL_READS) as pool:
        return list(pool.map(lambda key: read_record(store, key, SplitManifest), keys))


def read_record(store: Store, key: str, kind: type[R]) -> R | None:
    """A record; None where there is none. Raises OutputError where it is of another version."""
    try:
        data = store.read(key)
    except FileNotFoundError:
        return None
    return decode_record(key, data, kind)


def decode_record(key: str, data: bytes, kind: type[R]) -> R:
    """A record by the bytes of its file. Raises OutputError where it is of another version."""
    try:
        return kind.model_validate_json(data)
    except pydantic.ValidationError as error:
        raise OutputError(
            key,
            f"is not a {kind.__name__} of this version: {error.errors()[0]['msg']}",
            "Use the version that wrote it, or name another output folder.",
        ) from None


def files_of(manifest: SplitManifest) -> list[str]:
    """Every file that a manifest names, below the output's folder."""
    return [name for name, _ in _sizes(manifest)] + ([manifest.ledger] if manifest.ledger else [])


def _sizes(manifest: SplitManifest) -> Iterator[tuple[str, int | None]]:
    """Every file that a split is not whole without, with its bytes where the manifest tells them.
    A ledger can be done without."""
    yield from ((part.name, part.bytes) for part in manifest.parts)
    yield from ((name, None) for name in (manifest.ids, manifest.dead_letters) if name)


def check_same(folder: str, found: DatasetDescriptor, wanted: DatasetDescriptor) -> None:
    """Raise OutputError where a folder's descriptor is not that of the job at hand."""
    for field, why in _MUST_AGREE.items():
        old, new = getattr(found, field), getattr(wanted, field)
        if old != new:
            raise OutputError(
                folder,
                f"belongs to another job: its {why} is {_short(old)}, this one's {_short(new)}",
                "Name another output folder, or delete that one if it is no longer needed.",
            )


_MUST_AGREE = {
    "name": "name",
    "input_uri": "input",
    "fingerprint": "fingerprint",
    "vector_type": "vector type",
    "text": "choice of a text column",
    "dimension": "dimension",
}


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:12]}…"


def encode_record(record: Record) -> bytes:
    """A record as it lies in a file."""
    return record.model_dump_json(indent=1).encode()
