"""What is missing on this machine, in the account or at the index before a job can run."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

from embed_job.bundle import IN_IMAGE
from embed_job.errors import UserError
from embed_job.spec import JobSpec
from launcher.aws.account import account_checks
from launcher.aws.clients import Clients
from launcher.aws.errors import AWS_ERRORS, explain
from launcher.checks import Check, missing, ok, unknown
from launcher.cluster import index_checks
from launcher.hardware import engine_checks

__all__ = ["Check", "diagnose"]

_DOCKER_TIMEOUT_S = 15
_MIN_PYTHON = (3, 11)


def diagnose(
    spec: JobSpec | None, *, connect: Callable[[], Clients], bundle: Path
) -> Iterator[Check]:
    """Every check, in the order in which things are needed; what depends on one that is missing
    is left out.

    connect: makes the clients; asked where the spec needs AWS. bundle: the model bundle that a dry
    run and local hosts use, where the spec names no other.
    """
    submits = spec is None or spec.compute is not None
    yield _python()
    yield _package(
        "sagemaker", "sagemaker-core", "needed to submit", extra="launcher", optional=not submits
    )
    local = "needed for --on local without an S3 of your own"
    yield _package("moto", "moto", local, extra="local", optional=True)
    yield _bundle(_bundle_of(spec, bundle))
    yield from engine_checks()
    yield _docker()
    if spec is not None and not _needs_aws(spec):
        yield ok("AWS", "not needed: no compute, nothing on S3, no requests to be signed")
    else:
        yield from _aws(spec, connect)
    if spec is not None:
        yield from index_checks(spec)


def _needs_aws(spec: JobSpec) -> bool:
    index = spec.opensearch
    signed = index is not None and (index.auth_in_force == "sigv4" or index.secret_arn is not None)
    on_s3 = any(uri.startswith("s3://") for uri in (spec.input.uri, spec.parquet.uri))
    return spec.compute is not None or on_s3 or signed


def _aws(spec: JobSpec | None, connect: Callable[[], Clients]) -> Iterator[Check]:
    try:
        clients = connect()
    except UserError as error:
        yield missing("AWS client", error.what, error.hint)
        return
    known = yield from _who(clients)
    if spec is not None and known:
        yield from account_checks(spec, clients)


def _bundle_of(spec: JobSpec | None, bundle: Path) -> Path:
    """The spec's; bundle, where that is the image's default, which is not on this machine."""
    if spec is None or (spec.model.bundle == IN_IMAGE and not IN_IMAGE.exists()):
        return bundle
    return spec.model.bundle


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info >= _MIN_PYTHON:
        return ok("Python", version)
    return missing("Python", version, "Install Python 3.11 or newer.")


def _package(module: str, package: str, why: str, *, extra: str, optional: bool = False) -> Check:
    name = f"package {package}"
    if importlib.util.find_spec(module) is not None:
        return ok(name, f"installed; {why}")
    hint = f"pip install 'embed-job[{extra}]'"
    return missing(name, f"not installed; {why}", hint, optional=optional)


def _bundle(folder: Path) -> Check:
    if (folder / "bundle.json").is_file():
        return ok("model bundle", str(folder))
    what = f"none in {folder}; needed for dry runs and to build an image"
    hint = f"embed-job bundle default --out {folder}"
    return missing("model bundle", what, hint, optional=True)


def _docker() -> Check:
    hint = "Needed to build the image, and for --on local with containers: start Docker."
    program = shutil.which("docker")
    if program is None:
        return missing("Docker", "no program of that name", hint, optional=True)
    command = [program, "info", "--format", "{{.ServerVersion}}"]
    try:
        found = subprocess.run(  # noqa: S603 - no shell, nothing of the user's in it
            command, capture_output=True, text=True, timeout=_DOCKER_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return unknown("Docker", f"does not answer ({type(error).__name__})", hint)
    if found.returncode != 0:
        return missing("Docker", "its daemon does not answer", hint, optional=True)
    return ok("Docker", found.stdout.strip())


def _who(clients: Clients) -> Generator[Check, None, bool]:
    """Region and credentials; returns whether both are there."""
    region = clients.known_region
    if region is None:
        yield missing("region", "none is known", "Set compute.region in the spec, or AWS_REGION.")
        return False
    yield ok("region", region)
    try:
        caller = clients.sts.get_caller_identity()
    except AWS_ERRORS as error:
        found = explain(error, None, region=region)
        yield missing("credentials", found.what, found.hint)
        return False
    yield ok("credentials", caller["Arn"])
    return True
