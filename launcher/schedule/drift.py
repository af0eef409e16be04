"""How a stored schedule differs from what its spec would give now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson
import pydantic

from embed_job.fleet.order import ORDER_FILE, JobOrder
from embed_job.storage import Store, join
from launcher.job.request import JOB
from launcher.schedule.service import Found
from launcher.schedule.stored import Stored, digest_of

_TIMES = (
    ("schedule", "ScheduleExpression"),
    ("timezone", "ScheduleExpressionTimezone"),
    ("flexible window", "FlexibleTimeWindow"),
)
_FILES = ("ProcessingInputs",)
"""Of a request: where the files lie, whose folder is named by their content."""


def stored_order(store: Store, found: Found) -> JobOrder | None:
    """The order of a stored request; None where its files are gone, or of another version."""
    inputs = {item["InputName"]: item for item in orjson.loads(found.input)["ProcessingInputs"]}
    folder = inputs[JOB]["S3Input"]["S3Uri"]
    try:
        return JobOrder.model_validate_json(store.read(join(folder, ORDER_FILE)))
    except (FileNotFoundError, pydantic.ValidationError):
        return None


def drift(found: Found, held: JobOrder | None, wanted: Stored) -> list[str]:
    """What is another, one clause each; empty where `schedule create` would change nothing.

    held: the stored order, None where it can't be read.
    """
    return list(_drift(found.answer, held, wanted))


def _drift(answer: Mapping[str, Any], held: JobOrder | None, wanted: Stored) -> Iterator[str]:
    arguments = wanted.arguments(state="ENABLED")
    for title, key in _TIMES:
        if answer.get(key) != arguments[key]:
            yield f"{title}: {_plain(answer.get(key))}, the spec says {_plain(arguments[key])}"
    target = answer["Target"]
    for title, key in (("role", "RoleArn"), ("dead-letter queue", "DeadLetterConfig")):
        if target.get(key) != arguments["Target"].get(key):
            yield f"{title}: another than the spec's"
    # The service adds the age of an event, which says nothing where there are no retries.
    if target.get("RetryPolicy", {}).get("MaximumRetryAttempts") != 0:
        yield "retries: were switched on, so that one night may make two jobs"
    if digest_of(target["Input"]) != digest_of(wanted.input):
        request = orjson.loads(target["Input"])
        names = sorted(request.keys() | wanted.request.keys())
        different = [name for name in names if request.get(name) != wanted.request.get(name)]
        yield from (f"request: another {name}" for name in different if name not in _FILES)
        if set(different) & set(_FILES):
            yield from _order_drift(held, wanted.order)


def _order_drift(held: JobOrder | None, wanted: JobOrder) -> Iterator[str]:
    if held is None:
        yield "order: its files are gone, or of another version of embed-job; no run can start"
        return
    mine, theirs = wanted.spec.model_dump(mode="json"), held.spec.model_dump(mode="json")
    sections = [name for name in mine if mine[name] != theirs.get(name)]
    yield from (f"spec: another {name}" for name in sections)
    if held.model_fingerprint != wanted.model_fingerprint:
        yield "model: the bundle on this machine is another one"
    if held.program_version != wanted.program_version:
        yield f"embed-job: made by version {held.program_version}"
    elif not sections and held.model_fingerprint == wanted.model_fingerprint:
        yield "script: another than this version's"


def _plain(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    return f"{value['MaximumWindowInMinutes']} min" if "MaximumWindowInMinutes" in value else "off"
