"""The jobs that score an item: what they ask, and who asks first."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api.models.conversation_models import SamplingOptions
from api.models.dataset_models import DatasetItem
from api.models.evaluation_models import ItemsAs
from api.models.job_models import JobCreate
from api.models.metric_models import (
    JudgeMetric,
    judges_of,
    needs_probabilities,
)
from api.models.model_models import Model
from api.services.jobs.answer_jobs import (
    EVALUATE_OPERATION,
    JUDGE_OPERATION,
    Content,
    content_of,
    job_id_of,
    named_digest,
)
from llm_optimizers.evaluation.work import EvaluationWork
from llm_sdks.formats.openai_chat_asked import MOST_TOP_LOGPROBS

# As many alternatives as any provider gives.
_WITH_CHANCES = SamplingOptions(logprobs=MOST_TOP_LOGPROBS)


@dataclass(frozen=True, slots=True)
class Asked:
    """Who is asked: a model, with a system text."""

    system: str
    model: Model


@dataclass(slots=True)
class Question:
    """One job that an item needs; `judge` is the judge's position.

    `attempt` counts the jobs with this content that failed for others.
    """

    owner: str
    item: DatasetItem
    request: JobCreate
    content: Content
    judge: int | None = None
    attempt: int = 0

    @property
    def job_id(self) -> str:
        """The id of the job, whether it exists or not."""
        return job_id_of(self.owner, self.content.key, self.attempt)


class Questions:
    """Makes the questions of one work."""

    def __init__(
        self,
        work: EvaluationWork,
        answers: Asked,
        judges: Mapping[int, Asked],
    ) -> None:
        self._work = work
        self._answers = answers
        self._judges = judges
        self._metrics = dict(judges_of(work.metric))
        self._scope = "" if work.cache else work.source.id

    @property
    def named(self) -> str:
        """A digest of the prompts' texts and models that they name."""
        asked = [self._answers, *self._judges.values()]
        digests = [named_digest(each.system, each.model) for each in asked]
        return hashlib.sha256("".join(digests).encode()).hexdigest()

    @property
    def judges(self) -> int:
        """How many judges an item has."""
        return len(self._judges)

    def of_item(self, item: DatasetItem) -> Question:
        """Ask for the answer to an item."""
        work = self._work
        request = JobCreate(
            operation=EVALUATE_OPERATION,
            working_prompts=list(work.prompt_ids),
            model=work.model,
            temperature=work.temperature,
            **_asked_by(item, work.items_as),
            response_format=work.response_format,
            response_schema=work.response_schema
            and dict(work.response_schema),
            sampling=_WITH_CHANCES
            if needs_probabilities(work.metric)
            else None,
            **self._notes(item),
        )
        return self._question(item, request, self._answers)

    def of_judges(self, item: DatasetItem, answer: Any) -> list[Question]:  # noqa: ANN401 - JSON
        """Ask every judge about an answer."""
        asked = {
            "input": item.request_data,
            "answer": answer,
            "expected": item.expected,
        }
        return [
            self._of_judge(item, position, metric, asked)
            for position, metric in self._metrics.items()
        ]

    def _of_judge(
        self,
        item: DatasetItem,
        position: int,
        metric: JudgeMetric,
        asked: dict[str, Any],
    ) -> Question:
        request = JobCreate(
            operation=JUDGE_OPERATION,
            working_prompts=[metric.prompt_id],
            model=metric.model,
            temperature=metric.temperature,
            request_data=asked,
            **self._notes(item),
        )
        return self._question(item, request, self._judges[position], position)

    def _notes(self, item: DatasetItem) -> dict[str, Any]:
        work = self._work
        return {
            "priority": work.priority,
            "client_reference": {**work.source.reference, "itemId": item.id},
            # By it, all jobs of a source are found, counted and cancelled.
            "batch_key": work.source.id,
        }

    def _question(
        self,
        item: DatasetItem,
        request: JobCreate,
        asked: Asked,
        judge: int | None = None,
    ) -> Question:
        content = content_of(
            request, asked.system, asked.model, scope=self._scope
        )
        return Question(self._work.owner, item, request, content, judge)


def _asked_by(item: DatasetItem, items_as: ItemsAs) -> dict[str, Any]:
    if items_as is ItemsAs.VARIABLES:
        return {"variables": item.request_data}
    return {"request_data": item.request_data}
