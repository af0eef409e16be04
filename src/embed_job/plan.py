"""What a run is going to do, found out without loading the model: input, splits, dataset."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from embed_job.bundle import Bundle, open_bundle
from embed_job.commit.commits import Commits, check_same
from embed_job.engine import check_machine
from embed_job.errors import OutputError, SpecError
from embed_job.fingerprint import job_fingerprint
from embed_job.manifest import DatasetDescriptor, SplitManifest
from embed_job.source import Split
from embed_job.source.bundles import Bundled, standing_bundles, survey
from embed_job.source.listing import Listing, list_input
from embed_job.source.metadata import ConcreteType, resolve_metadata
from embed_job.source.plan import plan_splits
from embed_job.spec import JobSpec
from embed_job.storage import Store, resolve, store_for


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run reads and writes; on a host that need not be what its spec names.

    source_uri: the folder that the listing's keys lie in. target_uri: the output's folder.
    bundle: the model's. temporary: as of :func:`embed_job.storage.store_for`, for the target.
    earlier: a local folder with manifests of earlier runs, where the target does not hold them.
    """

    source_uri: str
    target_uri: str
    bundle: Path
    temporary: Path | None = None
    earlier: Path | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What this machine may work on.

    splits by identity, in the order of the input; standing: identities of committed bundles that
    hold files of it besides; committed: those of both that are done; found: every committed one of
    the output, whether it is of this input or not. generation: of the output when it was looked at,
    0 where no job had been committed; another one since means that this is not what there is to do.
    """

    spec: JobSpec
    place: Place
    listing: Listing
    splits: dict[str, Split]
    standing: tuple[str, ...]
    committed: dict[str, SplitManifest]
    found: dict[str, SplitManifest]
    generation: int
    dataset: DatasetDescriptor
    target: Store
    commits: Commits

    @property
    def planned(self) -> tuple[str, ...]:
        """Identities of all that has to be committed."""
        return (*self.splits, *self.standing)

    @property
    def without_splits(self) -> tuple[str, ...]:
        """Files that hold bytes, but nothing to make a split of: Parquet without row groups."""
        cut = {file.key for split in self.splits.values() for file in split.files}
        held = {name for split in self.standing for name, _ in self.committed[split].source.files}
        return tuple(
            file.name
            for file in self.listing.files
            if file.size and file.key not in cut and file.name not in held
        )


def make_plan(spec: JobSpec) -> Plan:
    """List the input, cut it into splits, claim the output, see what is committed.

    Raises SpecError, InputError, BundleError or OutputError; embeds nothing.
    """
    refuse_nesting(spec)
    listing = list_input(store_for(spec.input.uri), spec.input.uri)
    bundle = open_bundle(spec.model.bundle, precision=spec.model.precision)
    place = Place(spec.input.uri, spec.parquet.uri, bundle.path)
    plan = plan_listed(spec, listing, describe(spec, bundle), place)
    if not plan.planned and (left := plan.commits.committed_names()):
        raise OutputError(
            spec.parquet.uri,
            f"holds {len(left)} committed splits, but the input is empty now",
            "Check input.uri; if the corpus is really gone, delete the output folder.",
        )
    return plan


def plan_listed(
    spec: JobSpec,
    listing: Listing,
    wanted: DatasetDescriptor,
    place: Place,
    *,
    columns: dict[str, ConcreteType] | None = None,
    claim: bool = True,
) -> Plan:
    """The plan of files that are listed already.

    columns: types of the metadata columns; None: they are found in the input, by whoever claims
    the output. Whoever has no files then leaves that to others. claim: False to look alone, with
    nothing written.
    """
    source = store_for(place.source_uri)
    target = store_for(place.target_uri, temporary=place.temporary)
    commits = Commits(
        target,
        resolve(place.target_uri),
        earlier=None if place.earlier is None else str(place.earlier),
    )
    dataset = commits.descriptor()
    if dataset is not None:
        check_same(commits.folder, dataset, wanted)
    generation = commits.generation()
    found = commits.committed(wanted.fingerprint)
    bundled = {split: Bundled(*_held(manifest)) for split, manifest in found.items()}
    seen = survey(listing.everything(), bundled.values())
    standing = standing_bundles(bundled, seen)
    splits = {
        split.identity(wanted.fingerprint): split
        for split in plan_splits(source, listing.files, spec.input, standing=standing, found=seen)
    }
    if dataset is None and columns is None and (splits or listing.whole is None):
        columns = resolve_metadata(source, list(splits.values()), spec.input)
    if not claim:
        dataset = dataset or wanted.model_copy(update={"columns": columns or {}})
    elif columns is not None or dataset is not None:
        if dataset is None:
            # Else the folder would be bound to a precision that nothing here can compute.
            check_machine(spec.model)
        dataset = commits.claim(wanted.model_copy(update={"columns": columns or {}}))
    names = {file.name for file in listing.files}
    ours = tuple(
        split for split in standing.splits if any(n in names for n, _ in bundled[split].files)
    )
    committed = {split: found[split] for split in (*splits, *ours) if split in found}
    return Plan(
        spec, place, listing, splits, ours, committed, found, generation, dataset or wanted,
        target, commits,
    )  # fmt: skip


def _held(manifest: SplitManifest) -> tuple[tuple[tuple[str, str], ...], int, int]:
    return manifest.source.files, manifest.source.start, manifest.source.end


def refuse_nesting(spec: JobSpec) -> None:
    """Raise SpecError where the output lies inside the input."""
    source, target = (resolve(uri).rstrip("/") + "/" for uri in (spec.input.uri, spec.parquet.uri))
    if target.startswith(source):
        raise SpecError(
            f"{spec.parquet_key}.uri",
            f"{spec.parquet.uri} lies inside the input {spec.input.uri}",
            "The next run would embed this one's files: name a folder beside the input.",
        )


def describe(spec: JobSpec, bundle: Bundle) -> DatasetDescriptor:
    """The descriptor of a spec's output; its columns are still to be found in the input."""
    max_tokens = spec.chunk.max_tokens or bundle.max_tokens
    if max_tokens > bundle.max_tokens:
        raise SpecError(
            "chunk.max_tokens",
            f"{max_tokens} is more than the model's maximum of {bundle.max_tokens}",
            f"Set {bundle.max_tokens} or less, or leave it out.",
        )
    model = bundle.fingerprint(spec.model.precision)
    prompt = bundle.prompt_text(spec.model.prompt)
    return DatasetDescriptor(
        name=spec.name,
        input_uri=resolve(spec.input.uri),
        fingerprint=job_fingerprint(spec, model=model, prompt=prompt, max_tokens=max_tokens),
        model_fingerprint=model,
        bundle=str(bundle.path),
        engine="null" if spec.model.engine == "null" else "any",
        precision=spec.model.precision,
        prompt=prompt,
        dimension=bundle.dimension,
        normalized=bundle.info.normalize or spec.model.engine == "null",
        max_tokens=max_tokens,
        vector_type=spec.parquet.vector_type,
        text=spec.parquet.text,
        columns={},
        created_at=time.time(),
    )
