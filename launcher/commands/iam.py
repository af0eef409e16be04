"""``embed-job iam``: the permissions that a spec needs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from launcher.commands.arguments import AsJson, Overrides, Region, SpecPath


def iam_command(
    spec: SpecPath,
    account: Annotated[
        str | None, typer.Option(help="AWS account, where the spec's role does not name one.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write one file a policy into DIR.")
    ] = None,
    overrides: Overrides = None,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """Print the policies of whoever submits a spec, of the role it runs as, of its schedule."""
    import orjson

    from embed_job.spec.file import load_spec
    from launcher.commands.arguments import print_json, tell
    from launcher.iam import make_policies
    from launcher.iam.index import unknown_names

    job = load_spec(spec, overrides or [])
    wanted = region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    policies = make_policies(job, region=wanted, account=account).documents()
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for name, policy in policies.items():
            path = out / f"{name}.json"
            path.write_bytes(orjson.dumps(policy, option=orjson.OPT_INDENT_2) + b"\n")
            tell(str(path))
    elif as_json:
        print_json(policies)
    else:
        for name, policy in policies.items():
            typer.echo(f"# {name}: {_PURPOSE[name]}", err=True)
            print_json(policy)
    for name, meaning in unknown_names(job).items():
        tell(f"Replace {name} by {meaning}.")


_PURPOSE = {
    "execution-role-trust": "trust policy of the role that the job runs as (compute.role_arn)",
    "execution-role": "permissions of that role",
    "launcher": "for whoever runs plan, submit, status, logs and stop",
    "finalize": "for him as well, where he runs `embed-job finalize`; `submit --wait` does so "
    "with delivery: processing_output",
    "doctor": "optional, for `embed-job doctor` to look at role and image",
    "index": "for whoever runs load, canary, promote, rollback, redrive, verify, finalize and "
    "search on the spec; jobs need nothing of it",
    "index-data-access": "data access policy of the Serverless collection, which is not IAM's; "
    "add to its principals whoever runs these commands",
    "schedule": "for whoever runs schedule create, show, pause, resume and delete, beside launcher",
    "scheduler-role-trust": "trust policy of the role that EventBridge Scheduler takes "
    "(schedule.role_arn)",
    "scheduler-role": "permissions of that role",
    "notify": "policy of the topic or queue itself (schedule.notify_arn), beside what it has",
}
