"""The output of a spec, opened only where it is what the spec would make."""

from __future__ import annotations

from embed_job.bundle import IN_IMAGE, Bundle, open_bundle
from embed_job.commit.commits import Commits
from embed_job.dataset import Dataset, open_dataset
from embed_job.errors import BundleError, OutputError
from embed_job.fingerprint import job_fingerprint
from embed_job.manifest import DatasetDescriptor
from embed_job.spec import JobSpec
from embed_job.storage import resolve, store_for


def open_spec_output(spec: JobSpec, *, named: str, same: bool = True) -> Dataset:
    """What a spec's run has committed.

    named: the spec as the user types it, for messages. same: whether it must be what the spec as
    it is now would make. Raises OutputError where nothing is committed, it is another spec's, or
    its manifests disagree.
    """
    folder = find_spec_output(spec, named=named, same=same)
    dataset = open_dataset(store_for(folder), folder)
    if not dataset.splits and not dataset.complete:
        raise _nothing(spec, named)
    return dataset


def find_spec_output(spec: JobSpec, *, named: str, same: bool = True) -> str:
    """The folder of a spec's output; as of open_spec_output, but its manifests are not read."""
    uri = spec.parquet.uri
    folder = resolve(uri).rstrip("/")
    found = Commits(store_for(uri), folder).descriptor()
    if found is None:
        raise _nothing(spec, named)
    if same:
        _check_same(spec, found, named)
    return folder


def _nothing(spec: JobSpec, named: str) -> OutputError:
    return OutputError(
        spec.parquet.uri, "nothing is committed there yet", f"Run embed-job run {named} first."
    )


def _check_same(spec: JobSpec, found: DatasetDescriptor, named: str) -> None:
    """Raise OutputError where the spec was edited since, so that a run would make other rows."""
    if found.name != spec.name:
        raise OutputError(
            spec.parquet.uri,
            f"is the output of the job {found.name}, not of {spec.name}",
            "Name the spec that made it.",
        )
    if (found.text, found.vector_type) != (spec.parquet.text, spec.parquet.vector_type):
        raise _another(spec, "choice of a text column or type of vectors", named)
    bundle = _bundle_of(spec)
    if found.precision != spec.model.precision or (
        bundle is not None and bundle.fingerprint(spec.model.precision) != found.model_fingerprint
    ):
        raise _another(spec, "model", named)
    # Without a bundle, prompt and maximum are taken to be what they were.
    own = bundle.max_tokens if bundle is not None else found.max_tokens
    wanted = job_fingerprint(
        spec,
        model=found.model_fingerprint,
        prompt=found.prompt if bundle is None else bundle.prompt_text(spec.model.prompt),
        max_tokens=spec.chunk.max_tokens or own,
    )
    if wanted != found.fingerprint:
        raise _another(spec, "prompt, chunking or choice of fields", named)


def _bundle_of(spec: JobSpec) -> Bundle | None:
    """What the model says of itself, where it is on this machine; its files are not read."""
    if spec.compute is not None or spec.model.bundle == IN_IMAGE:
        return None  # the image's counts, which need not be the one here
    try:
        return open_bundle(spec.model.bundle, precision=spec.model.precision, verify=False)
    except BundleError:
        return None


def _another(spec: JobSpec, what: str, named: str) -> OutputError:
    return OutputError(
        spec.parquet.uri,
        f"was made with another {what} than the spec has now",
        f"Undo the change of the spec, or set another folder and run it: embed-job run {named}.",
    )
