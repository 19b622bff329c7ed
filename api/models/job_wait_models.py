"""Waiting for many jobs at once."""

from typing import Annotated

from pydantic import Field

from api.models.base import ApiModel, Text, example
from api.models.job_models import Job

LONGEST_WAIT_SECONDS = 60
# Who waits for them costs a query of all of them, time and again.
MOST_JOBS = 5000


class JobsWait(ApiModel):
    """`POST /jobs/wait`."""

    model_config = example(
        jobIds=["665f1c2ab7e4d90012345678", "665f1c2ab7e4d90012345679"],
        wait=30,
        fields=["status", "responseData"],
    )

    job_ids: Annotated[
        list[Text],
        Field(min_length=1, max_length=MOST_JOBS, fail_fast=True),
    ]
    wait: Annotated[
        float,
        Field(
            ge=0,
            le=LONGEST_WAIT_SECONDS,
            allow_inf_nan=False,
            description="Seconds; the answer comes as soon as one of the "
            "jobs has ended, or after this time.",
        ),
    ] = 0
    fields: Annotated[
        list[Text] | None,
        Field(
            max_length=100,
            description="The fields of jobs that are shown; `jobId` always "
            "is. Absent: all.",
        ),
    ] = None


class JobsEnded(ApiModel):
    """Which of some jobs have ended.

    All of them, or as many as one answer can carry: the next request
    without these has the others.
    """

    jobs: list[Job]
    unknown: Annotated[
        list[str],
        Field(description="Ids of no job, for instance of a deleted one."),
    ]
    waiting: Annotated[
        int, Field(description="How many of the jobs have not ended.")
    ]
