"""The plan of a run that is only looked at: nothing is claimed, made or written."""

from __future__ import annotations

from pathlib import Path

from embed_job.bundle import open_bundle
from embed_job.commit.commits import Commits
from embed_job.errors import BundleError
from embed_job.manifest import DatasetDescriptor
from embed_job.plan import Place, Plan, describe, plan_listed, refuse_nesting
from embed_job.source.listing import list_input
from embed_job.spec import JobSpec
from embed_job.storage import resolve, store_for


def look(spec: JobSpec) -> tuple[Plan, str]:
    """The plan, and a note where it takes the model's word from the output.

    Raises SpecError, InputError or OutputError as a run would; BundleError where there is neither a
    bundle nor an output yet.
    """
    refuse_nesting(spec)
    listing = list_input(store_for(spec.input.uri), spec.input.uri)
    wanted, note = _wanted(spec)
    place = Place(spec.input.uri, spec.parquet.uri, Path(spec.model.bundle))
    return plan_listed(spec, listing, wanted, place, claim=False), note


def _wanted(spec: JobSpec) -> tuple[DatasetDescriptor, str]:
    """The descriptor of the spec's output; that of the last run where the bundle is not here."""
    try:
        bundle = open_bundle(spec.model.bundle, precision=spec.model.precision, verify=False)
    except BundleError as error:
        store = store_for(spec.parquet.uri)
        found = Commits(store, resolve(spec.parquet.uri)).descriptor()
        if found is None:
            raise
        return found, f"the model is taken to be that of the last run: {error}"
    return describe(spec, bundle), ""
