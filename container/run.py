"""One host from its config files to its exit code."""

from __future__ import annotations

import platform
import signal
import time
from collections.abc import MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from container.contract import Contract, Folders, read_contract
from container.deadline import LEAVE_WITHIN_S, Deadline
from container.logs import ContainerProgress, Log, bug_facts
from container.outcome import (
    Outcome,
    message_bytes,
    of_bug,
    of_result,
    of_user_error,
    write_message,
)
from embed_job.errors import ExitCode, UserError, output_error
from embed_job.fleet import Host

if TYPE_CHECKING:
    from container.inputs import SpoolPlace
    from embed_job.fleet.order import JobOrder
    from embed_job.stop import StopSignals


def run_container(
    folders: Folders,
    environment: MutableMapping[str, str],
    stream: TextIO,
    *,
    stop: StopSignals,
) -> int:
    """Embed this host's share and leave message and log; the exit code. Raises nothing."""
    last = _LastWords(folders.message, stream)
    with Deadline(LEAVE_WITHIN_S, last_words=last.too_late):
        outcome = _outcome(folders, environment, last, stop)
        for number in (signal.SIGINT, signal.SIGTERM):  # nothing is left to stop
            signal.signal(number, signal.SIG_IGN)
        last.say(outcome)
    return outcome.code


class _LastWords:
    """Who this host is, as far as it is known, and how its end is told."""

    def __init__(self, message: Path, stream: TextIO) -> None:
        self._message = message
        self._stream = stream
        self.host = Host(job="unknown", name=platform.node() or "unknown", rank=0, count=1)

    @property
    def log(self) -> Log:
        """A log with a lock of its own, so that nobody's last words wait for another's line."""
        return Log(self._stream, host=self.host, clock=time.time)

    def say(self, outcome: Outcome) -> None:
        message = message_bytes(outcome, host=self.host.name, hosts=self.host.count)
        try:
            write_message(self._message, message)
        except OSError as error:
            self.log.line("warning", "message_not_written", file=self._message, why=error.strerror)
        self.log.line(
            "info" if outcome.code is ExitCode.OK else "error",
            "exit",
            code=int(outcome.code),
            name=outcome.code.name,
            text=outcome.text,
        )

    def too_late(self, code: int) -> None:
        """The deadline has come and the work has not ended."""
        text = "stopped before all was done; what is committed counts, submit again to go on"
        self.say(Outcome(ExitCode(code), text))


def _outcome(
    folders: Folders, environment: MutableMapping[str, str], last: _LastWords, stop: StopSignals
) -> Outcome:
    try:
        contract = read_contract(folders.config, environment)
        last.host = contract.host
        if contract.region:  # of boto3's two names, each is read somewhere
            environment.setdefault("AWS_REGION", contract.region)
            environment.setdefault("AWS_DEFAULT_REGION", contract.region)
        return _work(folders, contract, last.log, stop)
    except UserError as error:
        return of_user_error(error)
    except KeyboardInterrupt:  # a second signal
        code = stop.exit_code or ExitCode.INTERRUPTED
        return Outcome(code, "stopped at once; what is committed counts, submit again to go on")
    except Exception as error:  # noqa: BLE001 - the container's last resort
        explained = output_error(error, str(folders.root)) if isinstance(error, OSError) else None
        if explained is not None:
            return of_user_error(explained)
        last.log.line("error", "bug", **bug_facts(error))
        return of_bug(error)


def _work(folders: Folders, contract: Contract, log: Log, stop: StopSignals) -> Outcome:
    """Import the engine and let it embed. Raises UserError."""
    from container.inputs import bundle_of, choose_spool, inputs_of, target_of
    from embed_job.fleet.run import run_host

    spool = choose_spool(folders)
    found = _order(folders, contract.host, spool, stop)
    if found is None:
        return _too_early(stop)
    order, listing = found
    bundle, target = bundle_of(order, folders), target_of(order, folders)
    order = _fitted(order, bundle, log)
    inputs = inputs_of(order, folders, listing)
    log.line(
        "info",
        "order",
        program_version=order.program_version,
        name=order.spec.name,
        hosts=contract.host.count,
        rank=contract.host.rank,
        instance_type=contract.instance_type,
        input=inputs.source_uri,
        files=len(inputs.listing.files),
        files_of_job=order.files,
        output=target,
        bundle=bundle,
        spool=spool.folder,
        spool_free_mib=spool.free_bytes // 2**20,
    )
    progress = ContainerProgress(log, clock=time.time)
    if stop.requested:
        return _too_early(stop)
    try:
        result = run_host(
            order,
            contract.host,
            inputs,
            target_uri=target,
            spool=spool.folder,
            bundle=bundle,
            progress=progress,
            stop=stop,
        )
    finally:
        progress.stop()
    for problem in result.problems:
        log.line("error", "problem", text=problem)
    return of_result(result)


def _order(
    folders: Folders, host: Host, spool: SpoolPlace, stop: StopSignals
) -> tuple[JobOrder, Path] | None:
    """The job's order and the folder of its listing, which hosts make of a schedule's; None: this
    host is to stop before there is one."""
    from container.inputs import take_order

    order = take_order(folders)
    if not order.awaits_listing:
        return order, folders.job
    from embed_job.fleet.first_listing import complete_order

    where = spool.folder.with_name("embed-job-listing")
    listed = complete_order(order, host, where, stopping=lambda: stop.requested)
    return None if listed is None else (listed, where)


def _too_early(stop: StopSignals) -> Outcome:
    code = stop.exit_code or ExitCode.INTERRUPTED
    return Outcome(code, "stopped before it began; submit again")


def _fitted(order: JobOrder, bundle: Path | None, log: Log) -> JobOrder:
    from container.fit import fitted, fitting_workers, graph_bytes, this_machine
    from embed_job.machine import gpus

    machine = this_machine(order.spec.model)
    size = graph_bytes(order, bundle)
    workers = fitting_workers(order.spec, machine, graph_bytes=size)
    facts = {
        "workers": workers.count,
        "cores": machine.cores,
        "gpus": len(machine.gpus),
        "memory_mib": machine.memory_bytes // 2**20,
        "graph_mib": size // 2**20,
    }
    short = workers.room < workers.wanted
    if short:
        facts |= {"wanted": workers.wanted, "room_for": workers.room}
    level, event = ("warning", "little_memory") if short else ("info", "workers")
    log.line(level, event, **facts)  # type: ignore[arg-type]
    if not machine.gpus and (there := gpus()):
        model = order.spec.model
        log.line(
            "warning", "idle_gpus", gpus=len(there), engine=model.engine, precision=model.precision
        )
    return fitted(order, workers=workers.count)
