"""When a job is run again, by EventBridge Scheduler; read by the launcher alone."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from embed_job.spec.section import Section

ROLE_ARN = r"^arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+$"
# The service takes no queue whose name ends in .fifo.
QUEUE_ARN = r"^arn:aws[a-z-]*:sqs:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]+$"
NOTIFY_ARN = r"^arn:aws[a-z-]*:(sqs|sns):[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]+$"


class ScheduleSpec(Section):
    """When the job is run again: `embed-job schedule create` has EventBridge Scheduler do so."""

    cron: str | None = Field(
        None,
        max_length=256,
        description="Five fields of Unix's cron, or EventBridge's own six as cron(0 3 * * ? *).",
    )
    rate: str | None = Field(
        None,
        max_length=64,
        description="Instead of cron: 1 day, 12 hours, 30 minutes, from now on.",
    )
    timezone: str = Field(
        "UTC",
        max_length=50,
        description="In which cron is read, as in Europe/Berlin.",
    )
    flexible_window_min: int = Field(
        0, ge=0, le=1440, description="Minutes by which a run may begin later; 0: at once."
    )
    role_arn: str | None = Field(
        None,
        pattern=ROLE_ARN,
        description="Role that EventBridge Scheduler takes to create the job; `embed-job iam` "
        "prints its policies.",
    )
    dead_letter_arn: str | None = Field(
        None,
        pattern=QUEUE_ARN,
        description="SQS queue for runs that could not even be created.",
    )
    notify_arn: str | None = Field(
        None,
        pattern=NOTIFY_ARN,
        description="SNS topic or SQS queue that is told of a job that failed or was stopped.",
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.cron is None) == (self.rate is None):
            raise ValueError("needs either cron or rate")
        return self
