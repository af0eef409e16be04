"""Hard limits of CreateProcessingJob: names, lengths and characters."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from embed_job.spec import JobSpec
from embed_job.spec.compute import ComputeSpec
from launcher.job.names import MAX_STEM, name_stem
from launcher.job.request import RESERVED_ENVIRONMENT
from launcher.rules.problems import Problem, error, warning

MAX_URI = 1024
MAX_VALUE = 256
JOB_FILES_CHARS = len("_embed_job/jobs/") + 63 + len("/input/listing.parquet")
"""What the job's own files add to the output's URI."""

_ENVIRONMENT_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_KMS_KEY = re.compile(r"[a-zA-Z0-9:/_-]*")
_SECRET_NAME = re.compile(
    r"PASSW(OR)?D|PASSPHRASE|SECRET|TOKEN|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY", re.I
)
_SECRET_VALUE = re.compile(
    r"(AKIA|ASIA)[A-Z0-9]{16}|-----BEGIN [A-Z ]*PRIVATE KEY|gh[pousr]_\w{20,}|xox[bapr]-\w{10,}"
    r"|hf_[A-Za-z0-9]{20,}|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.|\w+://[^/\s:@]+:[^/\s:@]+@"
)
_REFERENCE = re.compile(r"arn:aws[a-z-]*:(secretsmanager|ssm):\S+")


def limits(spec: JobSpec, compute: ComputeSpec) -> Iterator[Problem]:
    """Every limit that does not depend on the account or the input."""
    if len(spec.name) > MAX_STEM:
        what = f"is {len(spec.name)} characters; jobs will be called {name_stem(spec.name)}-…"
        yield warning("name", what, f"Keep to {MAX_STEM} to recognise them.")
    yield from _uris(spec)
    yield from _environment(compute)
    yield from _tags(compute)
    for key in ("volume_kms_key", "output_kms_key"):
        if not _KMS_KEY.fullmatch(getattr(compute, key) or ""):
            hint = "Give the key's id, its ARN or alias/name."
            yield error(f"compute.{key}", "holds characters that no KMS key has", hint)
    yield from _network(compute)


def _uris(spec: JobSpec) -> Iterator[Problem]:
    for where, uri, room in (
        ("input.uri", spec.input.uri, MAX_URI - 1),
        (f"{spec.parquet_key}.uri", spec.parquet.uri, MAX_URI - JOB_FILES_CHARS),
    ):
        if len(uri) > room:
            what = f"is {len(uri)} characters; SageMaker takes {MAX_URI}, the job's files included"
            yield error(where, what, f"Keep to {room}.")


def _environment(compute: ComputeSpec) -> Iterator[Problem]:
    for name, value in compute.environment.items():
        at = f"compute.environment.{name}"
        if not _ENVIRONMENT_NAME.fullmatch(name) or len(name) > MAX_VALUE:
            yield error(at, "is no name of a variable", "Letters, digits and _, no digit first.")
        if len(value) > MAX_VALUE:
            what = f"is {len(value)} characters; SageMaker takes {MAX_VALUE}"
            yield error(at, what, "Put it into a file of your image, or into S3.")
        if name in RESERVED_ENVIRONMENT or name.startswith("EMBED_JOB_"):
            yield error(at, "is set by the launcher", "Remove it; for a region: compute.region.")
        if _is_secret(name, value):
            yield error(
                at,
                "looks like a secret, which everyone who may describe the job can read",
                "Put it into Secrets Manager, and its ARN here.",
            )


def _is_secret(name: str, value: str) -> bool:
    if _SECRET_VALUE.search(value):
        return True
    if not _SECRET_NAME.search(name) or _REFERENCE.fullmatch(value):
        return False
    # TOKENIZERS_PARALLELISM or MAX_TOKENS=512 are no secrets: a word or a number is none.
    harmless = re.fullmatch(r"\d{0,9}|true|false|yes|no|on|off", value, re.I)
    return not harmless and "TOKENIZER" not in name.upper()


def _tags(compute: ComputeSpec) -> Iterator[Problem]:
    for key, value in compute.tags.items():
        at = f"compute.tags.{key}"
        if not 1 <= len(key) <= 128 or len(value) > MAX_VALUE:
            what = "is too long: a key takes 128 characters, a value 256"
            yield error(at, what if key else "has no key", "Shorten it.")
        if not _is_tag(key) or not _is_tag(value):
            hint = "Letters, digits, spaces and . : / = + - @ _"
            yield error(at, "holds characters that AWS refuses in a tag", hint)
        if _SECRET_VALUE.search(value):
            yield error(at, "looks like a secret, which bills show", "Remove it.")
        if key.lower().startswith("aws:"):
            yield error(at, "begins with aws:, which is AWS's own", "Choose another key.")
        if key.startswith("embed-job:"):
            yield error(at, "is set by the launcher", "Choose another key.")


def _is_tag(text: str) -> bool:
    r"""AWS's [\p{L}\p{Z}\p{N}_.:/=+\-@]*; ``\s`` would take tabs and line ends for separators."""
    return all(char in "_.:/=+-@" or unicodedata.category(char)[0] in "LZN" for char in text)


def _network(compute: ComputeSpec) -> Iterator[Problem]:
    for key in ("subnets", "security_group_ids"):
        for value in getattr(compute.network, key):
            if not re.fullmatch(r"[-0-9a-zA-Z]{1,32}", value):
                what = f"{value[:40]!r} is no id"
                hint = "Ids look like subnet-0abc and sg-0abc."
                yield error(f"compute.network.{key}", what, hint)
