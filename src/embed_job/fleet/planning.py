"""What one host may embed, from the order and what was put before it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from embed_job.bundle import open_bundle
from embed_job.commit.lease import Rhythm
from embed_job.errors import BundleError, SpecError
from embed_job.fleet.claims import Pace
from embed_job.fleet.order import JobOrder
from embed_job.manifest import DatasetDescriptor
from embed_job.plan import Place, Plan, describe, plan_listed
from embed_job.source.listing import Listing


@dataclass(frozen=True, slots=True)
class InputSet:
    """What a host may embed, and where it reads it.

    source_uri: the folder or s3:// prefix that the listing's keys lie in. listing: sharded: the
    files of this host (:func:`embed_job.fleet.listing.local_share`); balanced: all of the job
    (:func:`embed_job.fleet.listing.listing_of_order`). earlier: a folder with the manifests of
    earlier runs (``<split>.json`` each), where target_uri does not hold them; it is only read.
    pace: how the splits of a common plan are claimed (balanced). rhythm: of the job's lease.
    """

    source_uri: str
    listing: Listing
    earlier: Path | None = None
    pace: Pace = field(default_factory=Pace)
    rhythm: Rhythm = field(default_factory=Rhythm)


def plan_share(
    order: JobOrder, inputs: InputSet, *, target_uri: str, spool: Path | None, bundle: Path | None
) -> Plan:
    """The plan of what a host may embed; arguments as of :func:`embed_job.fleet.run.run_host`.

    Raises a UserError where the order, the bundle and the output don't go together.
    """
    temporary: Path | None = None
    if spool is not None and not target_uri.startswith("s3://"):
        temporary = spool / "unfinished"
        temporary.mkdir(parents=True, exist_ok=True)
    place = Place(
        inputs.source_uri,
        target_uri,
        bundle or order.spec.model.bundle,
        temporary=temporary,
        earlier=inputs.earlier,
    )
    auto = sorted(name for name, kind in order.spec.input.fields.metadata.items() if kind == "auto")
    if auto and order.columns is None and order.is_uploaded:
        raise SpecError(
            "input.fields.metadata",
            f"the type of '{auto[0]}' is auto, and hosts that can't see each other's output may "
            "find different ones",
            "Give its type: string, int64, float64, bool or timestamp.",
        )
    if order.spec.opensearch is not None and order.is_uploaded:
        raise SpecError(
            "compute.delivery",
            "processing_output does not go with an opensearch output: it is for hosts that reach "
            "nothing, and their output is not in S3 before the job is over",
            "Take the opensearch output out and load afterwards with embed-job load, or use "
            "delivery: direct.",
        )
    wanted = _descriptor(order, place)
    return plan_listed(order.spec, inputs.listing, wanted, place, columns=order.columns)


def _descriptor(order: JobOrder, place: Place) -> DatasetDescriptor:
    """The descriptor of the job's output; the same bytes on every host."""
    bundle = open_bundle(place.bundle, precision=order.spec.model.precision)
    wanted = describe(order.spec, bundle)
    known = order.model_fingerprint
    if known is not None and known != wanted.model_fingerprint:
        raise BundleError(
            str(place.bundle),
            f"is another model ({wanted.model_fingerprint[:12]}) than the one that the job was "
            f"submitted for ({known[:12]})",
            "Build the image with that bundle, or submit with this one's.",
        )
    return wanted.model_copy(
        update={"bundle": str(order.spec.model.bundle), "created_at": order.created_at}
    )
