"""What lies beside the input and in the output before a job is submitted."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from embed_job.commit.commits import Commits, check_same
from embed_job.errors import BundleError, InputError, UserError
from embed_job.spec import JobSpec
from embed_job.storage import Store
from embed_job.storage.ranges import split_key
from embed_job.storage.retry import translate

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MAX_SIBLINGS = 20
MAX_COUNTED = 10_000


def siblings_of(client: S3Client, uri: str, *, single: bool) -> tuple[str, ...]:
    """Folders and objects that begin as the input does, but are not of it; s3:// URIs.

    None where the URI ends in a slash, which no sibling's name does.
    """
    bucket, name = split_key(uri)
    if not name or name.endswith("/"):
        return ()
    try:
        page = client.list_objects_v2(
            Bucket=bucket, Prefix=name, Delimiter="/", MaxKeys=MAX_SIBLINGS
        )
    except (BotoCoreError, ClientError) as error:
        raise translate(error, uri, InputError) from error
    found = [entry["Prefix"] for entry in page.get("CommonPrefixes", [])]
    found += [entry["Key"] for entry in page.get("Contents", [])]
    own = name if single else f"{name}/"
    return tuple(f"s3://{bucket}/{key}" for key in sorted(found) if key != own)


def committed_splits(store: Store, output: str) -> int:
    """How many manifests earlier runs have left in an output; counted up to 10,000."""
    folder = Commits(store, output).key("manifests")
    try:
        return sum(1 for _ in islice(store.list(folder), MAX_COUNTED))
    except FileNotFoundError:
        return 0


def whose_output(store: Store, spec: JobSpec) -> UserError | None:
    """What speaks against this output folder: that it is another job's already."""
    try:
        found = Commits(store, spec.parquet.uri).descriptor()
        if found is None:
            return None
        wanted = found.model_copy(update={"name": spec.name, "input_uri": spec.input.uri})
        try:
            from embed_job.bundle import open_bundle
            from embed_job.plan import describe

            bundle = open_bundle(spec.model.bundle, precision=spec.model.precision, verify=False)
            wanted = describe(spec, bundle)
        except BundleError:
            pass  # name and input can be compared without the model
        check_same(spec.parquet.uri, found, wanted)
    except UserError as error:
        return error
    return None
