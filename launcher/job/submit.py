"""A planned job submitted: its files brought to S3, then the request sent by SageMaker's SDK."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embed_job.errors import OutputError, SpecError, UserError
from embed_job.fleet.order import LISTING_FILE, ORDER_FILE
from embed_job.storage import Store
from launcher.aws.clients import Clients
from launcher.job.names import JobNames
from launcher.job.request import SCRIPT, compute_of
from launcher.job.sdk import create_by_sdk
from launcher.watch.jobs import running_jobs

if TYPE_CHECKING:
    from launcher.planning.choices import Choice
    from launcher.planning.plan import LaunchPlan


@dataclass(frozen=True, slots=True)
class Submitted:
    """A job that SageMaker has accepted. prefix: s3:// folder of its own files."""

    job: str
    arn: str
    prefix: str


def submit(
    request: Mapping[str, Any], names: JobNames, *, folder: Path, clients: Clients
) -> Submitted:
    """Bring the files of a job to S3 and create it.

    folder: holds the order, and the listing where there is one; the listing is moved. Raises
    OutputError where the files can't be written, UserError where the SDK can't send exactly this
    request, what botocore raises where the service refuses it.
    """
    bring_files(clients.store, names, folder=folder)
    return Submitted(names.job, create_by_sdk(request, clients), names.prefix)


def refuse_faulty(plan: LaunchPlan) -> None:
    """Raise SpecError where a plan has errors, all of them in one message."""
    errors = plan.errors
    if len(errors) == 1:
        raise SpecError(errors[0].where, errors[0].what, errors[0].hint)
    if errors:
        lines = [f"  {error.where}: {error.what}. {error.hint}" for error in errors]
        what = f"{len(errors)} problems\n" + "\n".join(lines)
        raise SpecError(plan.spec.name, what, "Nothing was submitted.")


def planned_request(plan: LaunchPlan) -> Mapping[str, Any]:
    """The plan's request. Raises SpecError where the spec lacks what it needs."""
    if plan.request is None:
        raise SpecError(
            "compute",
            "lacks image_uri or role_arn",
            "Set both; on this machine, where neither is used, any of the right form will do.",
        )
    return plan.request


def outlook_lines(plan: LaunchPlan) -> Iterator[str]:
    """What a job takes and costs, in a few lines."""
    yield f"{plan.names.job} in {plan.names.region}"
    if plan.listing is not None:
        size = f"{plan.listing.files:,} files, {plan.listing.bytes / 2**20:,.1f} MiB"
        done = f"; {plan.committed:,} splits committed before" if plan.committed else ""
        yield f"  input   {plan.spec.input.uri} ({size}){done}"
    yield f"  output  {plan.spec.parquet.uri}"
    limit_s = compute_of(plan.spec).max_runtime_s
    for choice in plan.choices:
        price = choice.price.usd_per_hour
        took = "hours unknown" if choice.hours is None else f"about {choice.hours:.1f} h"
        cost = "cost unknown" if choice.cost_usd is None else f"about ${choice.cost_usd:,.2f}"
        most = "" if price is None else f", at most ${_most(price, choice, limit_s):,.2f}"
        machines = f"{choice.instance_count} × {choice.instance_type}"
        yield f"  takes   {machines}: {took}, {cost}{most} (time limit {limit_s / 3600:.1f} h)"


def _most(usd_per_hour: float, choice: Choice, limit_s: int) -> float:
    return usd_per_hour * choice.instance_count * limit_s / 3600


def refuse_second_run(spec_name: str, clients: Clients) -> None:
    """Raise UserError where a job of this spec is running: both would do the same work."""
    running = running_jobs(clients.sagemaker, spec_name)
    if running:
        others = f" (and {len(running) - 1} more)" if len(running) > 1 else ""
        raise UserError(
            spec_name,
            f"its job {running[0]} is running{others}",
            f"Wait for it, watch it with `embed-job logs {running[0]} --follow`, or stop it with "
            f"`embed-job stop {running[0]}`: what it has committed stays.",
        )


def bring_files(store: Store, names: JobNames, *, folder: Path) -> None:
    """Write script, order and listing below the job's prefix; nothing of another job's.

    Raises OutputError where something lies there already, or S3 takes no more.
    """
    for key, data in (
        (f"{names.prefix}code/{SCRIPT}", script_path().read_bytes()),
        (f"{names.prefix}input/{ORDER_FILE}", (folder / ORDER_FILE).read_bytes()),
    ):
        if not store.create(key, data):
            raise OutputError(key, "is there already", "Submit again: each job gets a new name.")
    listing = folder / LISTING_FILE
    if listing.exists():
        store.upload(listing, f"{names.prefix}input/{LISTING_FILE}")


def script_path() -> Path:
    """The script that the job runs, as it is installed beside the launcher.

    Found without importing its package, which is for the image alone.
    """
    found = importlib.util.find_spec("container")
    places = list(found.submodule_search_locations or ()) if found else []
    for place in places:
        path = Path(place) / SCRIPT
        if path.is_file():
            return path
    raise UserError(
        SCRIPT, "is not installed", "Install embed-job anew: its package holds the job's script."
    )
