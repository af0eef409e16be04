"""Which machines, how many, and whether their disks hold what they are given."""

from __future__ import annotations

from collections.abc import Iterator

from embed_job.spec import JobSpec
from embed_job.spec.compute import ComputeSpec, InstancePreference
from launcher.planning.instances import Instance, instance
from launcher.planning.sharing import Shares
from launcher.rules.engines import engine_on
from launcher.rules.problems import Known, Problem, error, warning

GB = 10**9
UNEVEN = 1.5
SMALL_BYTES = 10**9
"""Below, nobody waits long for an uneven share."""
MANY_SPLITS = 100_000
SMALL_SPLIT_BYTES = 1 << 20
ONE_TYPE_ONLY = ("price_per_hour_usd", "tokens_per_s", "vcpus")
"""What compute says of its only type; of several, nobody could tell which it means."""
SPOOL_GB = 5
"""Unfinished Parquet files of all workers of a host, before they are uploaded."""


def choices(compute: ComputeSpec) -> tuple[InstancePreference, ...]:
    """The machines that the job may get, in order."""
    return compute.instance_preferences or (
        InstancePreference(
            instance_type=compute.instance_type, instance_count=compute.instance_count
        ),
    )


def machines(spec: JobSpec, compute: ComputeSpec, known: Known) -> Iterator[Problem]:
    """Instance types and counts, volumes and their keys."""
    yield from _preferences(compute)
    for number, choice in enumerate(choices(compute)):
        at = (
            f"compute.instance_preferences.{number}."
            if compute.instance_preferences
            else "compute."
        )
        found = instance(choice.instance_type)
        yield from _type(compute, found, f"{at}instance_type")
        yield from engine_on(spec.model, compute, found, f"{at}instance_type")
        yield from _count(compute, choice, known, f"{at}instance_count")
    yield from _storm(spec, known)
    widest = max(known.shares.values(), key=lambda shares: shares.copied_bytes, default=None)
    if widest is not None:
        yield from _room(compute, known, widest)


def _preferences(compute: ComputeSpec) -> Iterator[Problem]:
    where = "compute.instance_preferences"
    types = [choice.instance_type for choice in compute.instance_preferences]
    for name in sorted({name for name in types if types.count(name) > 1}):
        yield error(where, f"names {name} twice", "Each type may stand in it once.")
    if types and compute.model_fields_set & {"instance_type", "instance_count"}:
        what = "excludes compute.instance_type and compute.instance_count"
        yield error(where, what, "Keep either.")
    for key in ONE_TYPE_ONLY if types else ():
        if getattr(compute, key) is not None:
            what = "is of one type, and compute.instance_preferences names its own"
            hint = "Remove it: prices are asked of AWS, and rates come from --report."
            yield error(f"compute.{key}", what, hint)


def _type(compute: ComputeSpec, found: Instance, where: str) -> Iterator[Problem]:
    if found.gpu is None:
        what = f"{found.name} is not known here, so nothing is checked of its disk and devices"
        yield warning(where, what, "Check that SageMaker Processing offers it in your region.")
    elif not found.offered:
        what = f"{found.name} is no type of SageMaker Processing that the installed SDK knows"
        hint = "Check its name and size; where it is new, update boto3, or set compute.vcpus."
        if compute.instance_preferences:
            hint = "Check its name and size; where it is new, update boto3."
        yield warning(where, what, hint)
    if found.nvme and compute.volume_kms_key:
        yield error(
            "compute.volume_kms_key",
            f"is refused with {found.name}, whose volume is its own NVMe disk",
            "Remove it: that disk is encrypted by its hardware.",
        )
    if found.nvme_gb is not None and compute.volume_gb > found.nvme_gb:
        what = f"is more than the {found.nvme_gb} GB of {found.name}'s own disk"
        yield error("compute.volume_gb", what, f"Set {found.nvme_gb} or less.")


def _count(
    compute: ComputeSpec, choice: InstancePreference, known: Known, where: str
) -> Iterator[Problem]:
    listing, hosts = known.listing, choice.instance_count
    if listing is None:
        return
    if compute.sharing == "sharded_by_s3_key" and hosts > listing.objects:
        yield error(
            where,
            f"{hosts} instances share {listing.objects:,} objects: "
            f"{hosts - listing.objects} would get nothing, and be paid",
            "Set fewer, or compute.sharing: balanced, which shares out parts of objects.",
        )
        return
    shares = known.shares.get(hosts)
    if shares is not None and shares.idle and listing.bytes:
        what = f"{shares.idle} of {hosts} instances would have nothing to embed"
        yield warning(where, what, "Set fewer; `embed-job plan` shows how they share.")
    elif shares is not None and shares.makespan > UNEVEN and listing.bytes > SMALL_BYTES:
        yield _uneven(compute, shares)


def _uneven(compute: ComputeSpec, shares: Shares) -> Problem:
    if shares.held_up:
        what = f"a file that can't be cut makes the job take {shares.makespan:.1f} times as long"
        return warning("input.uri", what, "Store it uncompressed, or in several files.")
    what = f"the busiest host has {shares.makespan:.1f} times its share, and all wait for it"
    balanced = "Consider sharing: balanced, which shares out parts of objects."
    sharded = compute.sharing == "sharded_by_s3_key"
    return warning("compute.sharing", what, balanced if sharded else "Use fewer instances.")


def _storm(spec: JobSpec, known: Known) -> Iterator[Problem]:
    """Each split leaves a Parquet file, its ids and its manifest."""
    shares = next(iter(known.shares.values()), None)
    if shares is None or known.listing is None or spec.input.split_mib is not None:
        return
    splits = shares.hosts * sum(shares.splits) // 2
    if splits > MANY_SPLITS and known.listing.bytes < splits * SMALL_SPLIT_BYTES:
        what = f"is unset, and about {splits:,} small splits leave as many small Parquet files"
        yield warning("input.split_mib", what, "Set 16: fewer and larger ones, the same vectors.")


def _room(compute: ComputeSpec, known: Known, widest: Shares) -> Iterator[Problem]:
    """A shard is copied before the start, and what SageMaker uploads lies beside it."""
    uploaded = compute.delivery == "processing_output"
    output = next((look.output_bytes for look in known.outlooks if look.output_bytes), 0)
    # The busiest host makes as much more than its share as it has been given.
    made = output / widest.hosts * widest.makespan if uploaded else 0
    needed = (widest.copied_bytes + made) / GB + SPOOL_GB
    if needed > compute.volume_gb:
        what = (
            f"{compute.volume_gb} GB are too few: the fullest host needs {needed:,.0f} GB, "
            f"{widest.copied_bytes / GB:,.1f} of input, {made / GB:,.1f} of output, "
            f"{SPOOL_GB} to work in"
        )
        least = int(needed * 1.1) + 1
        hint = f"Set {least} or more, or more instances; balanced copies nothing."
        yield error("compute.volume_gb", what, hint)
