"""What a job and its files are called."""

from __future__ import annotations

import hashlib
import random
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from embed_job.commit.commits import PRIVATE
from embed_job.storage import join

MAX_JOB_NAME = 63
MAX_EXECUTION_ID = 36
MAX_STEM = MAX_JOB_NAME - 1 - MAX_EXECUTION_ID
EXECUTION_ID = "<aws.scheduler.execution-id>"
"""Where it stands in a stored request, EventBridge Scheduler puts what no other run has."""
_SUFFIX = (
    # by time, of a submission or of a run now
    r"-(?:[0-9]{8}-[0-9]{6}-[a-z0-9]{4}"
    # by execution: letters and digits, or a UUID
    r"|(?=[a-z]*[0-9])[a-z0-9]{12,36}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
)
SCHEDULES = "schedules"
_DRAWN = "abcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True, slots=True)
class JobNames:
    """job: the ProcessingJobName. prefix: s3:// folder of the job's own files, ending in ``/``.
    region: where it runs."""

    job: str
    prefix: str
    region: str


def name_stem(spec_name: str) -> str:
    """What every job of a spec is called first: the same for ever, 26 characters at most, so that
    an execution's id fits behind it.

    In lower case, for SageMaker may lower it in ARNs, and IAM compares those by case. A longer
    name keeps its beginning and gets 8 digits of its hash, so that two of them differ.
    """
    lower = spec_name.lower()
    if len(lower) <= MAX_STEM:
        return lower
    digest = hashlib.sha256(spec_name.encode()).hexdigest()[:8]
    return f"{lower[: MAX_STEM - 9].rstrip('-')}-{digest}"


def new_names(
    spec_name: str, output_uri: str, *, region: str, now: datetime, rng: random.Random
) -> JobNames:
    """Names of a new job, unique by time and four random characters.

    now: aware of its time zone. SageMaker never lets a name be used twice.
    """
    job = f"{name_stem(spec_name)}-{new_id(now, rng)}"
    return names_of(job, output_uri, region=region)


def new_id(now: datetime, rng: random.Random) -> str:
    """What makes a job's name unique where no execution does."""
    at = now.astimezone(UTC).strftime("%Y%m%d-%H%M%S")
    return f"{at}-{''.join(rng.choices(_DRAWN, k=4))}"


def names_of(job: str, output_uri: str, *, region: str) -> JobNames:
    """The names of a job that exists already."""
    return JobNames(job, job_folder(output_uri, job), region)


def schedule_name(spec_name: str) -> str:
    """What the schedule of a spec is called, and its rule; 36 characters at most."""
    return f"embed-job-{name_stem(spec_name)}"


def names_of_schedule(spec_name: str, output_uri: str, version: str, *, region: str) -> JobNames:
    """The names in a stored request. Its files lie in a folder of their version, which later ones
    leave alone: a running job may read them."""
    stem = name_stem(spec_name)
    prefix = join(output_uri, PRIVATE, SCHEDULES, stem, version) + "/"
    return JobNames(f"{stem}-{EXECUTION_ID}", prefix, region)


def job_folder(output_uri: str, job: str) -> str:
    """The s3:// folder of a job's own files, ending in ``/``."""
    return join(output_uri, PRIVATE, "jobs", job) + "/"


def is_job_of(spec_name: str, job: str) -> bool:
    """Whether a job's name is one that a spec of this name gives; ``kb`` has none of ``kb-2``.

    Case does not count, in either name.
    """
    return re.fullmatch(re.escape(name_stem(spec_name)) + _SUFFIX, job.lower()) is not None
