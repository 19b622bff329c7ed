"""What an evaluator is asked for, and what it answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from api.models.dataset_models import DatasetItem
from api.models.evaluation_models import ItemsAs
from api.models.job_fields import ResponseFormat
from api.models.metric_models import AnyMetric, WeightedMetrics
from api.models.metrics import ProcessingMetrics

PARALLELISM = 500


class SourceKind(StrEnum):
    """What jobs are queued for, by the name of its id in their notes."""

    EVALUATION = "evaluationId"
    RUN = "runId"


@dataclass(frozen=True, slots=True)
class Source:
    """The evaluation or run that jobs are queued for.

    `attempt` counts its resumptions: jobs that failed in an earlier one
    are tried again.
    """

    kind: SourceKind
    id: str
    attempt: int = 0

    @property
    def reference(self) -> dict[str, Any]:
        """What its jobs carry in `clientReference`."""
        counted = {"attempt": self.attempt} if self.attempt else {}
        return {str(self.kind): self.id, **counted}

    def caused(self, reference: Mapping[str, Any]) -> bool:
        """Tell whether a job with these notes was queued for it."""
        return (
            reference.get(str(self.kind)) == self.id
            and reference.get("attempt", 0) == self.attempt
        )


@dataclass(frozen=True, slots=True)
class EvaluationWork:
    """Score these prompts, with this model, on these items.

    The prompts are joined, as a job's `workingPrompts` are. The ids of
    `items` are unique. At most `parallelism` jobs are unfinished at once,
    and at most `most_new_jobs` are queued in all (None: any number).
    """

    owner: str
    source: Source
    prompt_ids: tuple[str, ...]
    model: str
    items: Sequence[DatasetItem]
    metric: AnyMetric | WeightedMetrics
    temperature: float = 0.0
    response_format: ResponseFormat = ResponseFormat.JSON
    response_schema: Mapping[str, Any] | None = None
    cache: bool = True
    items_as: ItemsAs = ItemsAs.REQUEST_DATA
    priority: int = 100
    parallelism: int = PARALLELISM
    most_new_jobs: int | None = None


@dataclass(frozen=True, slots=True)
class ItemOutcome:
    """The score of one item.

    An error scores 0: `error` is its type, `detail` its message, otherwise
    why the score is not 1. `metrics` is what the answer cost and took,
    whoever has paid for it; `cached` says that another evaluation or run,
    or another item with the same input, has caused it. `judge_metrics` is
    what the judges used, also where they are `cached`.
    """

    item_id: str
    score: float
    answer: Any = None
    error: str | None = None
    detail: str | None = None
    job_id: str | None = None
    metrics: ProcessingMetrics | None = None
    cached: bool = False
    judge_job_ids: tuple[str, ...] = ()
    judge_metrics: ProcessingMetrics | None = None


@dataclass(frozen=True, slots=True)
class EvaluationProgress:
    """How far the scoring has come.

    `open_jobs` neither ended nor failed yet: there is something to do when
    one of them ends. `blocked` items would need more new jobs than the
    work may queue. `new_jobs` were queued by this call.
    """

    outcomes: Mapping[str, ItemOutcome]
    open_jobs: frozenset[str] = field(default_factory=frozenset)
    waiting: int = 0
    blocked: int = 0
    new_jobs: int = 0

    @property
    def is_done(self) -> bool:
        """Whether every item that can be scored is scored."""
        return not self.open_jobs and not self.waiting
