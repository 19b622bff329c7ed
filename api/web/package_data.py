"""The `data` of packages."""

from typing import Annotated

from pydantic import Field

from api.models.job_bulk_models import JobBulkFilter
from api.models.job_status import JobStatus
from api.models.live_models import Topic
from api.models.run_models import RunStatus
from api.services.jobs.job_filter import JobFilter
from api.services.limits.usage_service import GroupBy
from api.web.packages import Data, Paged

Id = Annotated[str, Field(min_length=1, max_length=64)]
Name = Annotated[str, Field(max_length=256)]


class JobId(Data):
    """One job."""

    job_id: Id


class RunId(Data):
    """One run."""

    run_id: Id


class WorkerId(Data):
    """One worker."""

    worker_id: Id


class PromptId(Data):
    """One prompt."""

    prompt_id: Id


class ModelId(Data):
    """One model."""

    model_id: Annotated[Id, Field(alias="model_id")]


class JobsWanted(Paged):
    """Which jobs, and which of their fields."""

    status: JobStatus | None = None
    operation: Name | None = None
    model: Name | None = None
    error_type: Name | None = None
    batch_key: Name | None = None
    client_id: Name | None = None
    fields: Annotated[str | None, Field(max_length=1024)] = None
    newest_first: bool = False

    def to_filter(self) -> JobFilter:
        """Give the filter."""
        return JobFilter(
            status=self.status,
            operation=self.operation,
            model=self.model,
            error_type=self.error_type,
            batch_key=self.batch_key,
            client_id=self.client_id,
        )


class JobsChanged(Data):
    """Which jobs are changed, or only counted."""

    filter: JobBulkFilter
    dry_run: bool = False


class RunsWanted(Paged):
    """Which runs."""

    status: RunStatus | None = None


class PromptsWanted(Paged):
    """Which prompts."""

    name: Name | None = None


class UsageWanted(Data):
    """Of which days, and how it is grouped."""

    start: Annotated[Name | None, Field(alias="from")] = None
    to: Name | None = None
    group_by: Annotated[
        list[GroupBy], Field(max_length=4, default_factory=list)
    ]


class EventsWanted(Data):
    """Which events; `after` an event, or `since` a time, come missed ones."""

    topics: Annotated[
        list[Topic],
        Field(
            min_length=1, max_length=10, default_factory=lambda: list(Topic)
        ),
    ]
    types: Annotated[list[Name], Field(max_length=20, default_factory=list)]
    client_id: Name | None = None
    fields: Annotated[
        dict[Name, Name], Field(max_length=5, default_factory=dict)
    ]
    after: Annotated[str | None, Field(max_length=128)] = None
    since: Annotated[str | None, Field(max_length=64)] = None


class Subscription(Data):
    """A subscription, by the `req_id` that made it."""

    subscription: str | int
