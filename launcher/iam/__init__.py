"""The permissions that a spec needs, as IAM policies; `embed-job iam` prints them.

Pure: they follow from the spec and the account alone. Whatever the launcher or a host calls is
granted by a statement here, and nothing that is not called.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from embed_job.spec import JobSpec
from launcher.iam.arns import Arns, arns_of
from launcher.iam.execution import execution_policy, trust_policy
from launcher.iam.index import data_access_policy, index_policy
from launcher.iam.launching import doctor_policy, finalize_policy, launcher_policy
from launcher.iam.schedule import notify_policy, schedule_policy, scheduler_policy, scheduler_trust


@dataclass(frozen=True, slots=True)
class Policies:
    """The policy documents of one spec.

    launcher: for whoever plans, submits and follows. finalize: for him too, where he runs
    `embed-job finalize`, which `submit --wait` does with delivery: processing_output. doctor:
    optional; without it, doctor answers some questions with unknown. execution_role: for the role
    that the job runs as; execution_role_trust: who may assume it. index: for whoever loads, checks,
    promotes and searches the OpenSearch output from elsewhere; data_access: the policy of its
    Serverless collection, which is a list of rules of its own. schedule: for whoever makes the
    schedule; scheduler_role, scheduler_role_trust: of the role that creates its jobs; notify: the
    policy of the topic or queue itself. None where there is no such thing.
    """

    launcher: dict[str, Any]
    finalize: dict[str, Any]
    doctor: dict[str, Any]
    execution_role: dict[str, Any]
    execution_role_trust: dict[str, Any]
    index: dict[str, Any] | None
    data_access: list[dict[str, Any]] | None
    schedule: dict[str, Any] | None
    scheduler_role: dict[str, Any] | None
    scheduler_role_trust: dict[str, Any] | None
    notify: dict[str, Any] | None

    def documents(self) -> dict[str, Any]:
        """The policies by name, in the order in which a person needs them."""
        every = {
            "execution-role-trust": self.execution_role_trust,
            "execution-role": self.execution_role,
            "launcher": self.launcher,
            "finalize": self.finalize,
            "doctor": self.doctor,
            "index": self.index,
            "index-data-access": self.data_access,
            "schedule": self.schedule,
            "scheduler-role-trust": self.scheduler_role_trust,
            "scheduler-role": self.scheduler_role,
            "notify": self.notify,
        }
        return {name: policy for name, policy in every.items() if policy is not None}


def make_policies(
    spec: JobSpec, *, region: str | None = None, account: str | None = None
) -> Policies:
    """The policies of a spec.

    region, account: where the spec names none; None: a placeholder to be replaced. Raises
    SpecError where the spec has no compute section, or input or output is not in S3.
    """
    arns = arns_of(spec, region=region, account=account)
    return Policies(
        launcher=launcher_policy(spec, arns),
        finalize=finalize_policy(spec, arns),
        doctor=doctor_policy(spec, arns),
        execution_role=execution_policy(spec, arns),
        execution_role_trust=trust_policy(arns),
        index=index_policy(spec, arns),
        data_access=data_access_policy(spec, arns),
        schedule=schedule_policy(spec, arns),
        scheduler_role=scheduler_policy(spec, arns),
        scheduler_role_trust=scheduler_trust(spec, arns),
        notify=notify_policy(spec, arns),
    )


__all__ = ["Arns", "Policies", "arns_of", "make_policies"]
