"""A dry run: the user's job on a sample shard, into a folder of its own."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from embed_job.bundle import open_bundle
from embed_job.commit.commits import Commits, check_same
from embed_job.dry_run.sample import parse_sample_size, write_sample
from embed_job.dry_run.stdlib_docs import write_stdlib_docs
from embed_job.errors import OutputError, SpecError
from embed_job.plan import describe
from embed_job.report.model import SampleInfo
from embed_job.source.listing import list_input
from embed_job.spec import (
    Fields,
    InputSpec,
    JobSpec,
    ModelSpec,
    Output,
    ParquetOutput,
    RefreshSpec,
)
from embed_job.storage import resolve, store_for
from embed_job.storage.local import LocalStore

DRY_RUN = "dry-run"
DEFAULT_BUNDLE = Path("models/default")
_STDLIB_FILE = "stdlib.jsonl"

_ANOTHER_SAMPLE = RefreshSpec(reuse=False, keep_generations=0, max_delete_fraction=1)
"""What a sample lacks of the one before is not gone from the input; and to take over what that one
has embedded would tell nothing of the machine's speed."""


@dataclass(frozen=True, slots=True)
class DryRun:
    """spec: to be run as any other. sample: what its input is a sample of."""

    spec: JobSpec
    sample: SampleInfo


def prepare_dry_run(spec: JobSpec | None, *, size: str, seed: int, folder: Path) -> DryRun:
    """Write the sample to folder/sample; the vectors will go to folder/vectors.

    spec None: the documentation of Python's standard library. The spec's own outputs are never
    touched. The sample is the same for the same input, size and seed, so that a second dry run
    finds its work done; vectors of another sample are removed.
    """
    wanted = parse_sample_size(size)
    shard = folder / "sample"
    if spec is None:
        spec = _stdlib_spec(shard)
        if wanted.documents is None:
            raise SpecError("--sample", f"{size} of what?", "Give a SPEC, or a number.")
        shutil.rmtree(shard, ignore_errors=True)
        documents = write_stdlib_docs(shard / _STDLIB_FILE, count=wanted.documents, seed=seed)
        written = (shard / _STDLIB_FILE).stat().st_size
        sample = SampleInfo(documents=documents, bytes=written, of_bytes=written)
    else:
        store = store_for(spec.input.uri)
        listing = list_input(store, spec.input.uri)
        shutil.rmtree(shard, ignore_errors=True)
        drawn = write_sample(store, listing.files, spec.input, size=wanted, seed=seed, folder=shard)
        sample = SampleInfo(documents=drawn.documents, bytes=drawn.bytes, of_bytes=drawn.of_bytes)
    vectors = folder / "vectors"
    dry = spec.model_copy(
        update={
            "name": DRY_RUN,
            "refresh": _ANOTHER_SAMPLE,
            "input": spec.input.model_copy(update={"uri": str(shard)}),
            "outputs": (
                Output(parquet=spec.parquet.model_copy(update={"uri": str(vectors), "text": True})),
            ),
        }
    )
    _discard_foreign(dry, vectors)
    return DryRun(dry, sample)


def _stdlib_spec(shard: Path) -> JobSpec:
    return JobSpec(
        name=DRY_RUN,
        input=InputSpec(
            uri=str(shard),
            fields=Fields(id="id", text=("title", "body"), metadata={"module": "string"}),
        ),
        model=ModelSpec(bundle=DEFAULT_BUNDLE),
        outputs=(Output(parquet=ParquetOutput(uri=str(shard))),),
    )


def _discard_foreign(dry: JobSpec, vectors: Path) -> None:
    """Remove a former dry run's vectors where another spec, model or version made them."""
    bundle = open_bundle(dry.model.bundle, precision=dry.model.precision, verify=False)
    try:
        found = Commits(LocalStore(), resolve(str(vectors))).descriptor()
        if found is not None and found.name == DRY_RUN:
            check_same(str(vectors), found, describe(dry, bundle))
    except OutputError:
        shutil.rmtree(vectors)
