"""One host of a job: its share, or as much of the common plan as it gets, and perhaps the end."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from embed_job.commit.lease import HeldError, Holder
from embed_job.errors import ExitCode, output_error
from embed_job.fleet import Host
from embed_job.fleet.admission import LeftError, admitted
from embed_job.fleet.host_share import HostResult, HostShare
from embed_job.fleet.order import JobOrder
from embed_job.fleet.planning import InputSet, plan_share
from embed_job.fleet.records import JobFolder
from embed_job.manifest import SplitCounts
from embed_job.progress import Progress
from embed_job.stop import StopSignals


def run_host(
    order: JobOrder,
    host: Host,
    inputs: InputSet,
    *,
    target_uri: str,
    spool: Path | None,
    bundle: Path | None,
    progress: Progress,
    stop: StopSignals,
) -> HostResult:
    """Embed what this host is to embed and is not committed yet; leave word of it; end the job if
    all of it is done.

    target_uri: the output's URI, or a local folder that SageMaker uploads (delivery:
    processing_output). Then nothing unfinished ever lies in it, provided that spool is on the same
    file system and outside of it; manifests of earlier runs come in ``inputs.earlier``, and nobody
    in the job ends it: finalize_job does, once all is in S3. spool: where unfinished files lie;
    None: a temporary folder. bundle: the model's; None: the spec's. stop: entered by the caller.

    A job that finds another run at work on the output does nothing, which is no error: left_to.
    Raises a UserError where nothing could be done, or the work had to be given up; what is
    committed stays. A host that raises, or dies, has no record, and the job is not finalized.
    """
    make = partial(plan_share, order, inputs, target_uri=target_uri, spool=spool, bundle=bundle)
    try:
        plan = make()
        if order.is_uploaded:
            return HostShare(order, host, plan, inputs.pace, None).run(progress, stop, spool)
        room = JobFolder(plan.target, plan.commits.folder, host.job)
        holder = Holder(host.job, host.name, alone=host.count == 1)
        try:
            lease = admitted(room, plan.commits, holder, rhythm=inputs.rhythm, stop=stop)
        except HeldError as held:
            return _left(held, room, stop)
        with lease:
            if plan.commits.generation() != plan.generation:
                plan = make()  # another run came to its end since
            return HostShare(order, host, plan, inputs.pace, lease).run(progress, stop, spool)
    except OSError as error:
        explained = output_error(error, target_uri)
        raise explained or error from error


def _left(held: HeldError, room: JobFolder, stop: StopSignals) -> HostResult:
    """Raises it where the job is neither left to another run as a whole nor at its end."""
    code = stop.exit_code
    if code is None and not isinstance(held, LeftError) and room.end() is None:
        raise held
    return HostResult(code or ExitCode.OK, SplitCounts(), 0, 0, (), False, None, held.by)
