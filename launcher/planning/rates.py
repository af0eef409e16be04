"""How fast an instance embeds: measured, scaled from a measurement and called an estimate, or
unknown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from embed_job.cli.plural import plural
from embed_job.errors import InputError
from embed_job.report.model import Report
from embed_job.spec import JobSpec
from embed_job.spec.compute import ComputeSpec
from launcher.planning.instances import Instance, instance
from launcher.rules.engines import uses_gpu

_GIVE_REPORT = "give --report out/dry-run (from `make dry-run`)"
_NOT_MEASURED = "no rate of this precision was measured on its GPU"
_MEASURE_IT = "give --report of a job on one such instance, or set compute.tokens_per_s"


@dataclass(frozen=True, slots=True)
class Rate:
    """tokens_per_s: of one instance; None: unknown. measured: on this very type. source: how it
    was found, or what to do."""

    tokens_per_s: float | None
    measured: bool
    source: str


def read_report(path: Path) -> Report:
    """The report of a dry run or of an earlier job; path: the file, or its folder."""
    file = path / "report.json" if path.is_dir() else path
    try:
        return Report.model_validate_json(file.read_bytes())
    except OSError as error:
        raise InputError(
            str(file),
            f"can't be read: {(error.strerror or str(error)).lower()}",
            "`make dry-run SPEC=…` leaves one in out/dry-run.",
        ) from error
    except ValidationError as error:
        what = f"is not a report of this version ({error.errors()[0]['msg']})"
        raise InputError(str(file), what, "Make it again with this version.") from error


def find_rate(spec: JobSpec, report: Report | None, *, instance_type: str) -> Rate:
    """The rate of one instance of that type.

    From the spec (compute.tokens_per_s, for compute.instance_type); else from a report. On a GPU
    only a job on a type with the same GPU tells it; on a CPU any run of the same engine, scaled
    from its cores to the type's vCPUs.
    """
    compute = spec.compute
    if compute and compute.tokens_per_s is not None and _is_only(compute, instance_type):
        return Rate(compute.tokens_per_s, True, "compute.tokens_per_s of the spec")
    found = instance(instance_type)
    on_gpu = bool(found.gpu) and uses_gpu(spec.model)
    if report is None:
        missing = f"{_NOT_MEASURED}: {_MEASURE_IT}" if on_gpu else _GIVE_REPORT
        return Rate(None, False, f"unknown: {missing}")
    why_not = _unusable(spec, report, found, on_gpu=on_gpu)
    if why_not:
        return Rate(None, False, f"unknown: {why_not}")
    each = report.throughput.committed_tokens_per_s_per_worker or 0.0
    return _gpu_rate(report, found, each) if on_gpu else _cpu_rate(spec, report, found, each)


def _gpu_rate(report: Report, found: Instance, each: float) -> Rate:
    """By the GPUs of the report's hosts, which are the same as this type's."""
    of = instance(_type_of(report))
    workers = sum(host.workers or 0 for host in report.hosts)
    rate = each * workers / max(1, len(report.hosts))
    if of.name == found.name:
        return Rate(rate, True, f"report of {report.name}, on this type")
    scale = (found.gpus or 1) / (of.gpus or 1)
    source = f"{rate:,.0f} tokens/s on {plural(of.gpus or 1, 'GPU')} of {of.name}"
    return Rate(rate * scale, False, f"estimate: {source} × {scale:g} for {found.name}")


def _cpu_rate(spec: JobSpec, report: Report, found: Instance, each: float) -> Rate:
    """By the cores of the report's machine, one for one vCPU."""
    machine, vcpus = report.machine, vcpus_of(spec, found.name) or 0
    threads = int(report.spec.get("execution", {}).get("threads_per_worker", 1))
    rate = each / threads * vcpus
    if _same_type(report, found.name):
        return Rate(rate, True, f"report of {report.name}, on this type")
    here = each * max(1, machine.cores // threads)
    told = "".join(f", {engine.engine} {engine.instructions}" for engine in report.engines)
    cores = f"{machine.cores} cores ({machine.cpu}{told.rstrip()})"
    return Rate(rate, False, f"estimate: {here:,.0f} tokens/s on {cores} × {vcpus} vCPUs")


def vcpus_of(spec: JobSpec, instance_type: str) -> int | None:
    """vCPUs of one instance: as the spec says for its type, else from the table."""
    compute = spec.compute
    if compute and compute.vcpus and _is_only(compute, instance_type):
        return compute.vcpus
    return instance(instance_type).vcpus


def _is_only(compute: ComputeSpec, instance_type: str) -> bool:
    """Whether compute's rate and vCPUs are of that type; beside preferences they are of none."""
    return not compute.instance_preferences and compute.instance_type == instance_type


def _type_of(report: Report) -> str:
    """The only type that a report's spec names; "" where it could be of several, or of none."""
    compute = report.spec.get("compute") or {}
    return "" if compute.get("instance_preferences") else str(compute.get("instance_type", ""))


def _same_type(report: Report, instance_type: str) -> bool:
    """Whether a job of SageMaker made the report, on that type; a dry run's spec only names it."""
    compute = report.spec.get("compute") or {}
    known = instance(instance_type).vcpus
    return (
        report.sample is None
        and compute.get("instance_type") == instance_type
        and report.machine.cores == known
    )


def _unusable(spec: JobSpec, report: Report, found: Instance, *, on_gpu: bool) -> str:
    """Why a report's rate says nothing of this job on that type; "" where it does."""
    if report.spec.get("model", {}).get("precision", "fp32") != spec.model.precision:
        return "the report is of another precision"
    if not report.throughput.committed_tokens_per_s_per_worker:
        return "the report's run embedded nothing"
    return _not_of_gpu(report, found) if on_gpu else _not_of_cpu(spec, report, found)


def _not_of_gpu(report: Report, found: Instance) -> str:
    """A rate measured on a CPU says nothing of a GPU, nor that of one GPU of another."""
    ran_on = {engine.device for engine in report.engines if engine.engine == "torch"} - {"CPU"}
    if not ran_on:
        return f"{_NOT_MEASURED}, and the report is of a CPU ({report.machine.cpu}): {_MEASURE_IT}"
    name = _type_of(report)
    if report.sample is not None or not report.hosts or not name:
        return f"{_NOT_MEASURED}, and the report is of no job on such a type: {_MEASURE_IT}"
    if instance(name).family != found.family or None in (instance(name).gpus, found.gpus):
        return f"{_NOT_MEASURED}, and the report is of {name} ({', '.join(ran_on)}): {_MEASURE_IT}"
    return ""


def _not_of_cpu(spec: JobSpec, report: Report, found: Instance) -> str:
    gpus = [engine.device for engine in report.engines if engine.device != "CPU"]
    if gpus:
        return f"the report is of a GPU ({gpus[0]})"
    # Without engines, it is of an earlier version, or of a run that found all done.
    asked = {report.spec.get("model", {}).get("engine", "auto")}
    ran = {engine.engine for engine in report.engines} or asked
    wanted = spec.model.engine
    if wanted not in ran | asked and not (wanted == "auto" and ran == {"native"}):
        return "the report is of another engine"
    if vcpus_of(spec, found.name) is None:
        several = spec.compute is not None and spec.compute.instance_preferences
        return f"the vCPUs of {found.name}{'' if several else '; set compute.vcpus'}"
    return ""
