"""What a spec needs of the account: role, image, input and output, without changing anything."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import unquote

from botocore.exceptions import ClientError

from embed_job.commit.commits import Commits
from embed_job.errors import InputError, OutputError, UserError
from embed_job.spec import JobSpec
from embed_job.storage.retry import code_of
from launcher.aws.clients import Clients
from launcher.aws.errors import AWS_ERRORS, explain, is_denied
from launcher.aws.images import ECR_IMAGE, target_of
from launcher.checks import Check, missing, ok, unknown
from launcher.iam import Arns, arns_of, make_policies
from launcher.iam.arns import ROLE
from launcher.job.request import compute_of
from launcher.planning.instances import instance
from launcher.rules.engines import uses_gpu
from launcher.rules.machines import choices

_SIMULATED = (
    *("ReadInput", "ReadOutput", "ReadCommitted", "WriteOutput", "PullImage"),
    *("UseIndex", "ReachCollection", "ReadSecret"),
)
"""Statements of the execution role that hold without a condition, so that they can be simulated."""
_POSITIVE = ("StringEquals", "StringLike", "ArnEquals", "ArnLike")


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
    yield _output(spec, clients)


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
    yield _trust(found["AssumeRolePolicyDocument"], arns)
    yield from _permissions(spec, clients, arns)


def _trust(policy: str | Mapping[str, Any], arns: Arns) -> Check:
    document = json.loads(unquote(policy)) if isinstance(policy, str) else policy
    statements = document.get("Statement", [])
    what = "SageMaker may not assume the role"
    for statement in [statements] if isinstance(statements, Mapping) else statements:
        services = statement.get("Principal", {})
        named = services.get("Service", []) if isinstance(services, Mapping) else []
        services_of = [named] if isinstance(named, str) else named
        if statement.get("Effect") == "Allow" and "sagemaker.amazonaws.com" in services_of:
            unmet = _unmet(statement.get("Condition", {}), arns)
            if not unmet:
                return ok("role's trust", "SageMaker may assume it")
            what = f"SageMaker may assume it for other jobs than this: {', '.join(unmet)}"
    return missing(
        "role's trust",
        what,
        "Set the trust policy that `embed-job iam` prints as execution-role-trust.",
    )


def _unmet(conditions: Mapping[str, Any], arns: Arns) -> list[str]:
    """Conditions on who SageMaker acts for that this spec's jobs don't meet."""
    source = {"aws:sourceaccount": arns.account, "aws:sourcearn": arns.job()}
    unmet = []
    for operator, tests in conditions.items():
        if operator.removesuffix("IfExists") not in _POSITIVE:
            continue
        for key, values in tests.items():
            mine = source.get(key.lower())
            patterns = [values] if isinstance(values, str) else values
            if mine and not any(fnmatchcase(mine, pattern) for pattern in patterns):
                unmet.append(f"{key} is {' or '.join(patterns)}")
    return unmet


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
    found = ECR_IMAGE.fullmatch(uri or "")
    if uri is None or found is None:
        what = f"{uri} is no image of ECR" if uri else "compute.image_uri is not set"
        return missing("image", what, "`make push` makes the repository and prints the image.")
    digest, tag = found["digest"], found["tag"]
    which = {"imageDigest": digest} if digest else {"imageTag": tag or "latest"}
    try:
        described = clients.ecr.describe_images(
            registryId=found["account"], repositoryName=found["repository"], imageIds=[which]
        )
    except AWS_ERRORS as error:
        if code_of(error) in {"ImageNotFoundException", "RepositoryNotFoundException"}:
            return missing("image", f"{uri} is not there", "`make push` brings it and prints it.")
        return _unknown("image", error, spec, clients)
    tags = [tag for one in described["imageDetails"] for tag in one.get("imageTags", ())]
    idle = _idle_gpu(spec, tags)
    if idle:
        hint = "`make image TARGET=gpu`, then `make push TAG=embed-job:gpu`, prints another."
        return missing("image", f"{uri} is a CPU image, and {idle} has a GPU", hint)
    if digest:
        return ok("image", uri)
    return ok("image", f"{uri} (a tag: by digest, a job would always run the same image)")


def _idle_gpu(spec: JobSpec, tags: list[str]) -> str:
    """A type whose GPU the spec wants and the image, by its tags in ECR, does not know; or ""."""
    if target_of(tags) != "cpu" or not uses_gpu(spec.model):
        return ""
    types = [choice.instance_type for choice in choices(compute_of(spec))]
    return next((name for name in types if instance(name).gpu), "")


def _input(spec: JobSpec, clients: Clients) -> Check:
    uri = spec.input.uri

    def look() -> Check:
        try:
            first = next(iter(clients.store.list(uri)), None)
        except FileNotFoundError:
            return missing("input", f"there is nothing under {uri}", "Check input.uri.")
        return ok("input", f"{uri} holds {first.key}" if first else f"{uri} is empty")

    return _place("input", look, spec, clients)


def _output(spec: JobSpec, clients: Clients) -> Check:
    """Reads what planning reads first, so that the launcher's policy allows it."""
    uri = spec.parquet.uri
    if not uri.startswith("s3://"):
        return missing("output", f"{uri} is not in S3", "Name a folder in S3.")

    def look() -> Check:
        found = Commits(clients.store, uri).descriptor()
        held = f"is the output of {found.name}" if found else "holds no vectors yet"
        return ok("output", f"{uri} {held}")

    return _place("output", look, spec, clients)


def _place(name: str, look: Callable[[], Check], spec: JobSpec, clients: Clients) -> Check:
    """A look into S3, whatever comes of it."""
    try:
        return look()
    except PermissionError as error:
        cause = error.__cause__ if isinstance(error.__cause__, ClientError) else error
        return _unknown(name, cause, spec, clients)
    except (InputError, OutputError) as error:
        return missing(name, error.what, error.hint)
    except UserError as error:
        return unknown(name, error.what, error.hint)


def _unknown(name: str, error: Exception, spec: JobSpec, clients: Clients) -> Check:
    found = explain(error, spec, region=clients.region)
    what = f"may not look ({found.where})" if is_denied(error) else found.what
    return unknown(name, what, found.hint)
