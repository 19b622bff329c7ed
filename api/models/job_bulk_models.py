"""Changes of all jobs that match a filter."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from api.models.base import ApiModel, Name, Text, example
from api.models.job_fields import ClientReference, Priority
from api.models.job_status import JobStatus

_FROM = "Jobs that were submitted at this time or later."
_TO = "Jobs that were submitted at this time or before."
_REFERENCE = "Every field that is given must match."


class JobBulkFilter(ApiModel):
    """Which jobs; every field that is given must match."""

    id: Text | None = None
    status: JobStatus | None = None
    operation: Text | None = None
    model: Text | None = None
    priority: Priority | None = None
    error_type: Text | None = None
    batch_key: Name | None = None
    client_id: Annotated[
        Text | None,
        Field(description="For the administrator: of which client."),
    ] = None
    client_reference: Annotated[
        ClientReference | None, Field(description=_REFERENCE)
    ] = None
    start: Annotated[Text | None, Field(alias="from", description=_FROM)] = (
        None
    )
    end: Annotated[Text | None, Field(alias="to", description=_TO)] = None

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if not self.model_dump(exclude_none=True):
            raise ValueError("at least one field is needed")
        return self


class JobBulkChange(ApiModel):
    """`POST /jobs/cancel` and `POST /jobs/retry`."""

    model_config = example(
        filter={"operation": "sentiment", "from": "2026-01-31"}, dryRun=True
    )

    filter: JobBulkFilter
    dry_run: Annotated[
        bool, Field(description="Only count the jobs that match.")
    ] = False


class JobBulkResult(ApiModel):
    """How many jobs matched, and how many of them were changed.

    Others have changed meanwhile, or there was no time: a request that is
    repeated goes on.
    """

    matched: int
    changed: int
