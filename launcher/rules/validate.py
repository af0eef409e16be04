"""Every rule over a job, all of them at once."""

from __future__ import annotations

from embed_job.spec import JobSpec
from launcher.job.request import compute_of
from launcher.rules.access import access
from launcher.rules.index import index
from launcher.rules.limits import limits
from launcher.rules.machines import machines
from launcher.rules.money import money
from launcher.rules.places import places
from launcher.rules.problems import Known, Problem
from launcher.rules.schedule import schedule

__all__ = ["Known", "Problem", "errors_of", "find_problems"]


def find_problems(spec: JobSpec, known: Known) -> list[Problem]:
    """What is wrong with a job, errors first. Pure; silent about what is not known.

    Raises SpecError where the spec has no machines at all.
    """
    compute = compute_of(spec)
    found = [
        *places(spec, compute, known),
        *machines(spec, compute, known),
        *access(compute, known),
        *index(spec, compute, known),
        *schedule(spec.schedule, compute, known),
        *limits(spec, compute),
        *money(compute, known),
    ]
    distinct = list(dict.fromkeys(found))
    return sorted(distinct, key=lambda problem: problem.severity != "error")


def errors_of(problems: list[Problem]) -> list[Problem]:
    """Those that keep a job from being submitted."""
    return [problem for problem in problems if problem.severity == "error"]
