"""What a job would do, take and cost, and the exact request, before anything is submitted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from embed_job.errors import SpecError
from embed_job.fleet.order import JobOrder
from embed_job.report.model import Report
from embed_job.source.metadata import ConcreteType
from embed_job.spec import JobSpec
from launcher.aws.clients import Clients
from launcher.job.order import make_order, write_order
from launcher.job.request import JobNames, build_request, channels_of, compute_of
from launcher.planning.calls import AwsCall, calls_of
from launcher.planning.choices import Choice, Market, simulate_ways, weigh_choices
from launcher.planning.gather import Gathered, account_of, gather
from launcher.planning.index import IndexFacts, index_calls
from launcher.planning.listing import ListingFacts
from launcher.planning.model import ModelFacts
from launcher.planning.sample import Contents
from launcher.planning.sharing import Shares
from launcher.rules.problems import Known, Outlook, Problem
from launcher.rules.validate import errors_of, find_problems

On = Literal["sagemaker", "local"]
LOCAL_IMAGE, LOCAL_ROLE = "embed-job:cpu", "arn:aws:iam::000000000000:role/local"
ROW_BYTES = 80
"""Of a row beside its vector and text: ids, offsets, hash and metadata, compressed. A rough figure;
the vector is twenty times as large."""


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """A job, found out without starting anything.

    listing, contents: None where the input can't be listed or read; problems say why. ways: how
    the first choice's hosts would share the input, each way. model: fingerprint of the bundle on
    this machine; model_note: why there is none. columns: metadata found in the input. committed:
    splits that earlier runs have done. index: that the job fills, where it does. request: None
    where the spec lacks what it needs.
    """

    spec: JobSpec
    names: JobNames
    listing: ListingFacts | None
    contents: Contents | None
    splits: int | None
    output_bytes: int | None
    index: IndexFacts | None
    ways: tuple[Shares, ...]
    choices: tuple[Choice, ...]
    model: str | None
    model_note: str
    columns: dict[str, ConcreteType] | None
    committed: int
    request: dict[str, Any] | None
    calls: tuple[AwsCall, ...]
    problems: tuple[Problem, ...]

    @property
    def errors(self) -> list[Problem]:
        return errors_of(list(self.problems))


def make_launch_plan(
    spec: JobSpec,
    names: JobNames,
    *,
    clients: Clients,
    folder: Path,
    report: Report | None = None,
    on: On = "sagemaker",
) -> LaunchPlan:
    """Find out everything that a job needs; its listing.parquet goes to `folder`.

    report: of a dry run or an earlier job, for its rate. Reads S3, STS and the Price List; writes
    nothing to AWS. Raises SpecError where the spec has no machines, UserError without credentials.
    """
    gathered = gather(spec, clients, folder)
    listing = gathered.listing
    contents = gathered.look.contents if gathered.look else None
    ways, splits = simulate_ways(spec, listing) if listing else ({}, None)
    pricing = (lambda: clients.pricing) if on == "sagemaker" else None
    market = Market(report, pricing, clients.known_region)
    tokens = contents.tokens if contents else None
    chosen = weigh_choices(spec, ways, tokens=tokens, market=market)
    output_bytes = _output_bytes(spec, contents, gathered.model)
    known = _known(on, clients, gathered, chosen, output_bytes)
    return LaunchPlan(
        spec=spec,
        names=names,
        listing=listing,
        contents=contents,
        splits=splits,
        output_bytes=output_bytes,
        index=gathered.index,
        ways=tuple(ways[key] for key in ways if key[1] == chosen[0].instance_count),
        choices=chosen,
        model=gathered.model.fingerprint if gathered.model else None,
        model_note=gathered.model_note,
        columns=gathered.look.columns if gathered.look else None,
        committed=gathered.committed,
        request=_request(_stood_in(spec) if on == "local" else spec, names, gathered),
        calls=(
            *calls_of(
                spec,
                names,
                listing,
                sampled=contents.sampled_files if contents else 0,
                asked_price=pricing is not None,
            ),
            *index_calls(spec, gathered.index),
        ),
        problems=(*gathered.problems, *find_problems(spec, known)),
    )


def _known(
    on: On,
    clients: Clients,
    gathered: Gathered,
    chosen: tuple[Choice, ...],
    output_bytes: int | None,
) -> Known:
    """What the rules may know."""
    return Known(
        on=on,
        region=clients.known_region,
        account=account_of(clients) if on == "sagemaker" else None,
        listing=gathered.listing,
        siblings=gathered.siblings,
        bucket_regions=dict(clients.bucket_regions),
        shares={choice.instance_count: choice.shares for choice in chosen if choice.shares},
        outlooks=tuple(
            Outlook(choice.instance_type, choice.hours, choice.cost_usd, output_bytes)
            for choice in chosen
        ),
    )


def write_order_files(plan: LaunchPlan, folder: Path, *, created_at: float) -> JobOrder:
    """Write order.json beside the listing.parquet that planning has left in `folder`."""
    order = make_order(
        plan.spec,
        plan.listing,
        columns=plan.columns,
        model_fingerprint=plan.model,
        created_at=created_at,
    )
    write_order(folder, order)
    return order


def _output_bytes(spec: JobSpec, contents: Contents | None, model: ModelFacts | None) -> int | None:
    """Rows × bytes of a row; text as it is, for how far it compresses is not known."""
    if contents is None or model is None or contents.chunks is None:
        return None
    number = 4 if spec.parquet.vector_type == "float32" else 2
    text = contents.text_bytes or 0 if spec.parquet.text else 0
    return contents.chunks * (model.dimension * number + ROW_BYTES) + text


def _stood_in(spec: JobSpec) -> JobSpec:
    """A spec whose missing image and role are those that stand for them on this machine."""
    compute = compute_of(spec)
    given = {
        "image_uri": compute.image_uri or LOCAL_IMAGE,
        "role_arn": compute.role_arn or LOCAL_ROLE,
    }
    return spec.model_copy(update={"compute": compute.model_copy(update=given)})


def _request(spec: JobSpec, names: JobNames, gathered: Gathered) -> dict[str, Any] | None:
    single = gathered.listing.single if gathered.listing else False
    channels = channels_of(spec, single_object=single, committed=gathered.committed > 0)
    try:
        return build_request(spec, names, channels=channels)
    except SpecError:
        return None  # a rule tells of what is missing
