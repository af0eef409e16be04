"""What a run is going to do, found out without loading the model: input, splits, dataset."""

from __future__ import annotations

import time
from dataclasses import dataclass

from embed_job.bundle import Bundle, open_bundle
from embed_job.commit.commits import Commits
from embed_job.errors import OutputError, SpecError
from embed_job.fingerprint import job_fingerprint
from embed_job.manifest import DatasetDescriptor, SplitManifest
from embed_job.source import Split
from embed_job.source.listing import Listing, list_input
from embed_job.source.metadata import resolve_metadata
from embed_job.source.plan import plan_splits
from embed_job.spec import JobSpec
from embed_job.storage import Store, resolve, store_for


@dataclass(frozen=True, slots=True)
class Plan:
    """splits by identity, in the order of the input; committed: those of them that are done."""

    spec: JobSpec
    listing: Listing
    splits: dict[str, Split]
    committed: dict[str, SplitManifest]
    dataset: DatasetDescriptor
    target: Store
    commits: Commits


def make_plan(spec: JobSpec) -> Plan:
    """List the input, cut it into splits, claim the output, see what is committed.

    Raises SpecError, InputError, BundleError or OutputError; embeds nothing.
    """
    _refuse_nesting(spec)
    source, target = store_for(spec.input.uri), store_for(spec.parquet.uri)
    commits = Commits(target, resolve(spec.parquet.uri))
    listing = list_input(source, spec.input.uri)
    bundle = open_bundle(spec.model.bundle, precision=spec.model.precision)
    dataset = describe(spec, bundle)
    splits = {
        split.identity(dataset.fingerprint): split
        for split in plan_splits(source, listing.files, spec.input)
    }
    if commits.descriptor() is None:
        columns = resolve_metadata(source, list(splits.values()), spec.input)
        dataset = dataset.model_copy(update={"columns": columns})
    dataset = commits.claim(dataset)
    found = commits.committed(dataset.fingerprint)
    if found and not splits:
        raise OutputError(
            spec.parquet.uri,
            f"holds {len(found)} committed splits, but the input is empty now",
            "Check input.uri; if the corpus is really gone, delete the output folder.",
        )
    committed = {split: found[split] for split in splits if split in found}
    return Plan(spec, listing, splits, committed, dataset, target, commits)


def _refuse_nesting(spec: JobSpec) -> None:
    source, target = (resolve(uri).rstrip("/") + "/" for uri in (spec.input.uri, spec.parquet.uri))
    if target.startswith(source):
        raise SpecError(
            "outputs.0.parquet.uri",
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
        engine="null" if spec.model.engine == "null" else "onnx",
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
