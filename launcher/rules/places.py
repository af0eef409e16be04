"""Where documents come from and where vectors go."""

from __future__ import annotations

import re
from collections.abc import Iterator

from embed_job.spec import JobSpec
from embed_job.spec.compute import ComputeSpec
from launcher.rules.problems import Known, Problem, error, warning

_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?", re.DOTALL)
_INPUT = "input.uri"


def places(spec: JobSpec, compute: ComputeSpec, known: Known) -> Iterator[Problem]:
    """The two addresses, one against the other, and what lies beside the input."""
    source, target = spec.input.uri, spec.parquet.uri
    for where, uri in ((_INPUT, source), (_output(spec), target)):
        if not uri.startswith("s3://"):
            hint = "Copy it to S3; `embed-job run` and `make dry-run` work on local files."
            yield error(where, f"{uri} is not in S3, where SageMaker reads and writes", hint)
        elif not _BUCKET.fullmatch(uri):
            yield error(where, f"{uri} names no bucket", "It looks like s3://bucket/folder/.")
    if re.search(r"[*?\[]", source):
        hint = "Name the folder; files of unknown endings are left out."
        yield error(_INPUT, "is a pattern, but SageMaker copies by prefix", hint)
    yield from _nesting(spec)
    yield from _siblings(source, compute, known)
    yield from _regions(spec, compute, known)
    yield from _unfit(compute, known)
    if known.listing is not None and not known.listing.bytes:
        what = f"none of its {known.listing.objects:,} objects holds anything to embed"
        yield error(_INPUT, what, "Known are .jsonl .csv .tsv .parquet .txt .md, and .gz and .zst.")


def _output(spec: JobSpec) -> str:
    return f"{spec.parquet_key}.uri"


def _nesting(spec: JobSpec) -> Iterator[Problem]:
    source, target = (uri.rstrip("/") + "/" for uri in (spec.input.uri, spec.parquet.uri))
    if target.startswith(source):
        hint = "The next run would embed this one's files: name a folder beside the input."
        yield error(_output(spec), f"lies inside the input {source}", hint)
    elif source.startswith(target):
        hint = "Name an output folder that holds nothing else."
        yield error(_output(spec), f"holds the input {source}", hint)


def _unfit(compute: ComputeSpec, known: Known) -> Iterator[Problem]:
    """On a host's disk ``a//b`` is ``a/b``, which is not what the listing names."""
    if compute.sharing != "sharded_by_s3_key" or known.listing is None or not known.listing.unfit:
        return
    what = f"objects such as {known.listing.unfit[0][:80]!r} can't be copied to a disk by name"
    hint = "Rename them (no empty part between slashes, none over 255 bytes), or sharing: balanced."
    yield error(_INPUT, what, hint)


def _siblings(source: str, compute: ComputeSpec, known: Known) -> Iterator[Problem]:
    """SageMaker copies whatever begins with a prefix. A folder is asked for with its slash, so
    its siblings stay out; one object can't be told from them."""
    if not known.siblings:
        return
    names = ", ".join(known.siblings[:3])
    if known.listing is None or not known.listing.single:
        what = f"also begins {names}, which the job leaves out: it takes {source}/ alone"
        yield warning(_INPUT, what, "Write the slash at its end to say so.")
    elif compute.sharing == "sharded_by_s3_key":
        what = f"is one object, but SageMaker would copy {names} too"
        yield error(_INPUT, what, "Put it into a folder of its own, or set sharing: balanced.")


def _regions(spec: JobSpec, compute: ComputeSpec, known: Known) -> Iterator[Problem]:
    """SageMaker copies from and to buckets of the job's own region alone."""
    if known.on == "local" or known.region is None:
        return
    hint = f"Name a bucket in {known.region}, or set compute.region to the bucket's."
    found = known.bucket_regions.get(_bucket(spec.parquet.uri), known.region)
    if found != known.region:
        # Whoever writes the vectors, the job's own files lie there too, for SageMaker to copy.
        what = f"lies in {found}, and the job runs in {known.region}: SageMaker can't reach it"
        yield error(_output(spec), what, hint)
    found = known.bucket_regions.get(_bucket(spec.input.uri), known.region)
    if found == known.region:
        return
    if compute.sharing == "sharded_by_s3_key":
        what = f"lies in {found}, and the job runs in {known.region}: SageMaker can't copy it"
        yield error(_INPUT, what, hint)
    else:
        what = f"lies in {found}, and the job runs in {known.region}"
        yield warning(_INPUT, what, f"Each byte read costs the transfer between them. {hint}")


def _bucket(uri: str) -> str:
    return uri.removeprefix("s3://").partition("/")[0]
