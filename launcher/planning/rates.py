"""How fast an instance embeds: measured, scaled from a measurement and called an estimate, or
unknown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from embed_job.errors import InputError
from embed_job.report.model import Report
from embed_job.spec import JobSpec
from embed_job.spec.compute import ComputeSpec
from launcher.planning.instances import instance


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

    From the spec (compute.tokens_per_s, for compute.instance_type); else from a report: as it is
    where that was of the same type, else scaled from its cores to the type's vCPUs.
    """
    compute = spec.compute
    if compute and compute.tokens_per_s is not None and _is_only(compute, instance_type):
        return Rate(compute.tokens_per_s, True, "compute.tokens_per_s of the spec")
    if report is None:
        return Rate(None, False, "unknown: give --report out/dry-run (from `make dry-run`)")
    vcpus = vcpus_of(spec, instance_type)
    each = report.throughput.committed_tokens_per_s_per_worker
    why_not = _unusable(spec, report, instance_type)
    if why_not or vcpus is None or not each:
        return Rate(None, False, f"unknown: {why_not}")
    machine = report.machine
    threads = int(report.spec.get("execution", {}).get("threads_per_worker", 1))
    rate = each / threads * vcpus
    if _same_type(report, instance_type):
        return Rate(rate, True, f"report of {report.name}, on this type")
    here = each * max(1, machine.cores // threads)
    source = f"{here:,.0f} tokens/s on {machine.cores} cores ({machine.cpu}) × {vcpus} vCPUs"
    return Rate(rate, False, f"estimate: {source}")


def vcpus_of(spec: JobSpec, instance_type: str) -> int | None:
    """vCPUs of one instance: as the spec says for its type, else from the table."""
    compute = spec.compute
    if compute and compute.vcpus and _is_only(compute, instance_type):
        return compute.vcpus
    return instance(instance_type).vcpus


def _is_only(compute: ComputeSpec, instance_type: str) -> bool:
    """Whether compute's rate and vCPUs are of that type; beside preferences they are of none."""
    return not compute.instance_preferences and compute.instance_type == instance_type


def _same_type(report: Report, instance_type: str) -> bool:
    """Whether a job of SageMaker made the report, on that type; a dry run's spec only names it."""
    compute = report.spec.get("compute") or {}
    known = instance(instance_type).vcpus
    return (
        report.sample is None
        and compute.get("instance_type") == instance_type
        and report.machine.cores == known
    )


def _unusable(spec: JobSpec, report: Report, instance_type: str) -> str:
    """Why a report's rate says nothing of this job on that type; "" where it does."""
    model = report.spec.get("model", {})
    if model.get("engine", "auto") != spec.model.engine:
        return "the report is of another engine"
    if model.get("precision", "fp32") != spec.model.precision:
        return "the report is of another precision"
    if not report.throughput.committed_tokens_per_s_per_worker:
        return "the report's run embedded nothing"
    if instance(instance_type).gpu:
        return f"the report is of a CPU ({report.machine.cpu})"
    if vcpus_of(spec, instance_type) is None:
        several = spec.compute is not None and spec.compute.instance_preferences
        return f"the vCPUs of {instance_type}{'' if several else '; set compute.vcpus'}"
    return ""
