"""IAM's rules, as far as the policies of this project need them: which calls a policy allows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any

ACCOUNT, REGION = "123456789012", "us-east-1"
UNRESTRICTED = {"sts:GetCallerIdentity"}
"""Needs no permission."""

Request = tuple[str, str, tuple[tuple[str, str], ...]]
"""An action, the resource that it is about, and the context that conditions see."""


def refused(calls: Iterable[Any], *policies: dict[str, Any]) -> list[Request]:
    """What of the calls no statement of the policies allows."""
    statements = [statement for policy in policies for statement in policy["Statement"]]
    return [
        request
        for request in needed(calls)
        if not any(grants(statement, *request) for statement in statements)
    ]


def unused(calls: Iterable[Any], policy: dict[str, Any]) -> set[str]:
    """Actions that a policy allows and no call needs."""
    used = {action for action, _, _ in needed(calls)}
    return {action for item in policy["Statement"] for action in item["Action"]} - used


def needed(calls: Iterable[Any]) -> list[Request]:
    return sorted({request for call in calls for request in requests_of(call)})


def requests_of(call: Any) -> Iterator[Request]:
    """What IAM is asked for one call."""
    asked = call.request
    if call.service == "s3":
        yield from s3_requests(call)
    elif call.service == "sagemaker":
        yield from sagemaker_requests(call)
    elif call.service == "scheduler":
        yield from scheduler_requests(call)
    elif call.service == "events":
        rule = asked.get("Rule") or asked["Name"]
        yield f"events:{call.operation}", f"arn:aws:events:{REGION}:{ACCOUNT}:rule/{rule}", ()
    elif call.service == "logs":
        group = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{asked.get('logGroupName', '')}"
        if call.operation == "DescribeLogStreams":
            yield f"logs:{call.operation}", f"{group}:log-stream:", ()
        elif call.operation == "GetLogEvents":
            yield f"logs:{call.operation}", f"{group}:log-stream:{asked['logStreamName']}", ()
        # The others prepare the test.
    elif f"{call.service}:{call.operation}" not in UNRESTRICTED:
        yield f"{call.service}:{call.operation}", "*", ()


def s3_requests(call: Any) -> Iterator[Request]:
    asked = call.request
    bucket = f"arn:aws:s3:::{asked['bucket']}"
    if call.operation == "ListObjectsV2":
        yield "s3:ListBucket", bucket, (("s3:prefix", asked["query"].get("prefix", "")),)
        return
    action = {"HeadObject": "GetObject"}.get(call.operation, call.operation)
    yield f"s3:{action}", f"{bucket}/{asked['key']}", ()
    if call.status == 404:
        # S3 says that an object is missing only to those who may list it; to others it says 403.
        yield "s3:ListBucket", bucket, (("s3:prefix", asked["key"]),)


def sagemaker_requests(call: Any) -> Iterator[Request]:
    asked = call.request
    if call.operation == "ListProcessingJobs":
        yield "sagemaker:ListProcessingJobs", "*", ()
        return
    job = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:processing-job/{asked['ProcessingJobName']}"
    yield f"sagemaker:{call.operation}", job, ()
    if call.operation == "CreateProcessingJob":
        yield "sagemaker:AddTags", job, ()
        yield (
            "iam:PassRole",
            asked["RoleArn"],
            (("iam:PassedToService", "sagemaker.amazonaws.com"),),
        )


def scheduler_requests(call: Any) -> Iterator[Request]:
    name = f"schedule/default/{call.request['Name']}"
    yield f"scheduler:{call.operation}", f"arn:aws:scheduler:{REGION}:{ACCOUNT}:{name}", ()
    if "Target" in call.request:
        role = call.request["Target"]["RoleArn"]
        yield "iam:PassRole", role, (("iam:PassedToService", "scheduler.amazonaws.com"),)


def grants(
    statement: dict[str, Any], action: str, resource: str, context: tuple[tuple[str, str], ...]
) -> bool:
    """IAM's rule for one statement: action, resource and every condition must match."""
    assert statement["Effect"] == "Allow"
    return (
        action in statement["Action"]
        and any(like(resource, pattern) for pattern in statement["Resource"])
        and all(
            holds(operator, wanted, dict(context))
            for operator, wanted in statement.get("Condition", {}).items()
        )
    )


def holds(operator: str, wanted: dict[str, Any], context: dict[str, str]) -> bool:
    """Whether a condition holds; a key that the request does not have makes it false."""
    match = {"StringEquals": str.__eq__, "StringLike": like}[operator]
    return all(
        key in context and any(match(context[key], value) for value in listed(values))
        for key, values in wanted.items()
    )


def like(text: str, pattern: str) -> bool:
    # fnmatch knows classes in brackets, which IAM does not.
    return fnmatchcase(text, re.sub(r"\[", "[[]", pattern))


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
