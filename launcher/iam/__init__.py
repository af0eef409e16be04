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
from launcher.iam.launching import doctor_policy, finalize_policy, launcher_policy


@dataclass(frozen=True, slots=True)
class Policies:
    """The policy documents of one spec.

    launcher: for whoever plans, submits and follows. finalize: for him too, where he runs
    `embed-job finalize`, which `submit --wait` does with delivery: processing_output. doctor:
    optional; without it, doctor answers some questions with unknown. execution_role: for the role
    that the job runs as; execution_role_trust: who may assume it.
    """

    launcher: dict[str, Any]
    finalize: dict[str, Any]
    doctor: dict[str, Any]
    execution_role: dict[str, Any]
    execution_role_trust: dict[str, Any]

    def documents(self) -> dict[str, dict[str, Any]]:
        """The policies by name, in the order in which a person needs them."""
        return {
            "execution-role-trust": self.execution_role_trust,
            "execution-role": self.execution_role,
            "launcher": self.launcher,
            "finalize": self.finalize,
            "doctor": self.doctor,
        }


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
    )


__all__ = ["Arns", "Policies", "arns_of", "make_policies"]
