"""What a spec needs of the account: role, image, input and output, without changing anything."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from botocore.exceptions import ClientError

from embed_job.errors import InputError, UserError
from embed_job.spec import JobSpec
from embed_job.storage.retry import code_of
from launcher.aws.clients import Clients
from launcher.aws.errors import AWS_ERRORS, explain, is_denied
from launcher.checks import Check, missing, ok, unknown
from launcher.iam import Arns, arns_of, make_policies
from launcher.iam.arns import IMAGE, ROLE
from launcher.job.request import compute_of

_SIMULATED = ("ReadInput", "ReadOutput", "ReadCommitted", "WriteOutput", "PullImage")
"""Statements of the execution role that hold without a condition, so that they can be simulated."""


def account_checks(spec: JobSpec, clients: Clients) -> Iterator[Check]:
    """Checks of one spec; a missing permission to look makes one unknown."""
    try:
        arns = arns_of(spec, region=clients.region, account=None)
    except UserError as error:
        yield missing(error.where, error.what, error.hint)
        return
    yield from _role(spec, clients, arns)
    yield _image(spec, clients)
    yield _input(spec, clients)


def _role(spec: JobSpec, clients: Clients, arns: Arns) -> Iterator[Check]:
    role = compute_of(spec).role_arn
    if not role or not ROLE.fullmatch(role):
        yield missing(
            "role",
            "compute.role_arn is not set" if not role else f"{role} is no role's ARN",
            "Make a role with what `embed-job iam` prints; name it arn:aws:iam::ACCOUNT:role/NAME.",
        )
        return
    name = role.rpartition("/")[2]
    try:
        found = clients.iam.get_role(RoleName=name)["Role"]
    except AWS_ERRORS as error:
        if code_of(error) == "NoSuchEntity":
            yield missing("role", f"there is no {role}", "Make it; `embed-job iam` prints how.")
        else:
            yield _unknown("role", error, spec, clients)
        return
    if found["Arn"] != role:
        yield missing("role", f"{name} is {found['Arn']}", "Name the role by that ARN.")
        return
    yield ok("role", role)
    yield _trust(found["AssumeRolePolicyDocument"])
    yield from _permissions(spec, clients, arns)


def _trust(policy: str | Mapping[str, Any]) -> Check:
    document = json.loads(unquote(policy)) if isinstance(policy, str) else policy
    statements = document.get("Statement", [])
    for statement in [statements] if isinstance(statements, Mapping) else statements:
        services = statement.get("Principal", {})
        named = services.get("Service", []) if isinstance(services, Mapping) else []
        services_of = [named] if isinstance(named, str) else named
        if statement.get("Effect") == "Allow" and "sagemaker.amazonaws.com" in services_of:
            return ok("role's trust", "SageMaker may assume it")
    return missing(
        "role's trust",
        "SageMaker may not assume the role",
        "Set the trust policy that `embed-job iam` prints as execution-role-trust.",
    )


def _permissions(spec: JobSpec, clients: Clients, arns: Arns) -> Iterator[Check]:
    """What IAM says the role may do, statement by statement."""
    policy = make_policies(spec, region=clients.region).execution_role
    for statement in policy["Statement"]:
        if statement["Sid"] not in _SIMULATED:
            continue
        name = f"role may: {statement['Sid']}"
        try:
            denied = _denied(clients, arns.role, statement["Action"], statement["Resource"])
        except AWS_ERRORS as error:
            # What is true of the first is true of the others.
            yield _unknown("role's permissions", error, spec, clients)
            return
        if denied:
            hint = f"Add to the role's policy:\n{json.dumps(statement, indent=2)}"
            yield missing(name, f"not allowed: {', '.join(denied)}", hint)
        else:
            yield ok(name, ", ".join(statement["Resource"]))


def _denied(
    clients: Clients, role: str, actions: Sequence[str], resources: Sequence[str]
) -> list[str]:
    answer = clients.iam.simulate_principal_policy(
        PolicySourceArn=role, ActionNames=list(actions), ResourceArns=list(resources)
    )
    return sorted(
        {
            result["EvalActionName"]
            for result in answer["EvaluationResults"]
            if result["EvalDecision"] != "allowed"
        }
    )


def _image(spec: JobSpec, clients: Clients) -> Check:
    uri = compute_of(spec).image_uri
    found = IMAGE.match(uri or "")
    if uri is None or found is None:
        what = f"{uri} is no image of ECR" if uri else "compute.image_uri is not set"
        return missing("image", what, "`make push` makes the repository and prints the image.")
    rest = uri[found.end() :]
    which = (
        {"imageDigest": rest[1:]} if rest.startswith("@") else {"imageTag": rest[1:] or "latest"}
    )
    try:
        clients.ecr.describe_images(
            registryId=found["account"], repositoryName=found["repository"], imageIds=[which]
        )
    except AWS_ERRORS as error:
        if code_of(error) in {"ImageNotFoundException", "RepositoryNotFoundException"}:
            return missing("image", f"{uri} is not there", "`make push` brings it and prints it.")
        return _unknown("image", error, spec, clients)
    if rest.startswith("@"):
        return ok("image", uri)
    return ok("image", f"{uri} (a tag: by digest, a job would always run the same image)")


def _input(spec: JobSpec, clients: Clients) -> Check:
    uri = spec.input.uri
    try:
        first = next(iter(clients.store.list(uri)), None)
    except FileNotFoundError:
        return missing("input", f"there is nothing under {uri}", "Check input.uri.")
    except PermissionError as error:
        cause = error.__cause__ if isinstance(error.__cause__, ClientError) else error
        return _unknown("input", cause, spec, clients)
    except InputError as error:
        return missing("input", error.what, error.hint)
    except UserError as error:
        return unknown("input", error.what, error.hint)
    return ok("input", f"{uri} holds {first.key}" if first else f"{uri} is empty")


def _unknown(name: str, error: Exception, spec: JobSpec, clients: Clients) -> Check:
    found = explain(error, spec, region=clients.region)
    what = f"may not look ({found.where})" if is_denied(error) else found.what
    return unknown(name, what, found.hint)
