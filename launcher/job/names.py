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
_SUFFIX = r"-[0-9]{8}-[0-9]{6}-[a-z0-9]{4}"
_SUFFIX_CHARS = 21
MAX_STEM = MAX_JOB_NAME - _SUFFIX_CHARS
_DRAWN = "abcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True, slots=True)
class JobNames:
    """job: the ProcessingJobName. prefix: s3:// folder of the job's own files, ending in ``/``.
    region: where it runs."""

    job: str
    prefix: str
    region: str


def name_stem(spec_name: str) -> str:
    """What every job of a spec is called before its time: the same for ever, 42 characters at most.

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
    at = now.astimezone(UTC).strftime("%Y%m%d-%H%M%S")
    drawn = "".join(rng.choices(_DRAWN, k=4))
    return names_of(f"{name_stem(spec_name)}-{at}-{drawn}", output_uri, region=region)


def names_of(job: str, output_uri: str, *, region: str) -> JobNames:
    """The names of a job that exists already."""
    return JobNames(job, join(output_uri, PRIVATE, "jobs", job) + "/", region)


def is_job_of(spec_name: str, job: str) -> bool:
    """Whether a job's name is one that a spec of this name gives; ``kb`` has none of ``kb-2``.

    Case does not count, in either name.
    """
    return re.fullmatch(re.escape(name_stem(spec_name)) + _SUFFIX, job.lower()) is not None
