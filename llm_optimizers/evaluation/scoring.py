"""Scores answers without keeping the event loop from other work.

What may take long, such as checking a large answer against a schema, is
done in a process that can be ended; metrics of installed packages, in
threads that are not waited for without end.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter

from api.models.dataset_models import DatasetItem
from api.models.metric_models import (
    AnyMetric,
    EntryPointMetric,
    Metric,
    RegexMetric,
    SchemaMetric,
    WeightedMetrics,
    parts_of,
)
from llm_optimizers.evaluation.metrics import (
    METRIC_ERROR,
    Score,
    ScoringError,
    score,
)
from utilities import json_schema, payload
from utilities.foreign_calls import ForeignCalls, NoAnswerError
from utilities.limited import (
    CallFailedError,
    LimitedCalls,
    LimitExceededError,
)

# What is longer is scored elsewhere: a few milliseconds of work.
_INLINE_CHARACTERS = 32 * 1024
_HERE = __name__
METRIC_ADAPTER: TypeAdapter[AnyMetric | WeightedMetrics] = TypeAdapter(Metric)


class Scorer:
    """Scores answers by one metric."""

    def __init__(
        self,
        metric: AnyMetric | WeightedMetrics,
        limited: LimitedCalls | None = None,
        foreign: ForeignCalls | None = None,
    ) -> None:
        self._metric = metric
        self._limited = limited
        self._foreign = foreign or _shared_foreign()
        parts = [part for part, _ in parts_of(metric)]
        self._in_thread = any(
            isinstance(part, EntryPointMetric) for part in parts
        )
        self._schemas = [
            payload.dump(part.json_schema)
            for part in parts
            if isinstance(part, SchemaMetric)
        ]
        self._patterns = any(isinstance(part, RegexMetric) for part in parts)

    async def score(
        self,
        item: DatasetItem,
        answer: Any,  # noqa: ANN401 - JSON
        judgements: Mapping[int, Any],
        logprobs: Sequence[Any] | None = None,
    ) -> Score:
        """Score the answer to an item; see `metrics.score`.

        Raises:
            ScoringError: it cannot be scored, or that took too long.
        """
        given = (
            item.request_data,
            item.expected,
            answer,
            judgements,
            logprobs,
        )
        if self._is_heavy(answer):
            return await self._elsewhere(item, answer, judgements, logprobs)
        if self._in_thread:
            call = functools.partial(score, self._metric, *given)
            return await self._in_a_thread(call)
        return score(self._metric, *given)

    async def _in_a_thread(self, call: Callable[[], Score]) -> Score:
        try:
            return await self._foreign.run(call)
        except NoAnswerError as error:
            raise ScoringError(
                METRIC_ERROR, f"The metric's function: {error}"
            ) from None

    def _is_heavy(self, answer: Any) -> bool:  # noqa: ANN401 - JSON
        text = payload.dump(answer)
        return len(text) > _INLINE_CHARACTERS or not all(
            json_schema.is_light(text, schema) for schema in self._schemas
        )

    async def _elsewhere(
        self,
        item: DatasetItem,
        answer: Any,  # noqa: ANN401 - JSON
        judgements: Mapping[int, Any],
        logprobs: Sequence[Any] | None,
    ) -> Score:
        metric = METRIC_ADAPTER.dump_python(
            self._metric, mode="json", by_alias=True
        )
        limited = self._limited or _shared_limited()
        try:
            value, detail, kind = await limited.run(
                f"{_HERE}:score_json",
                metric,
                item.model_dump(mode="json"),
                answer,
                # JSON has no numbers as keys.
                [[position, each] for position, each in judgements.items()],
                list(logprobs or ()),
            )
        except LimitExceededError as error:
            raise ScoringError(METRIC_ERROR, f"Scoring {error}") from None
        except CallFailedError as error:
            raise ScoringError(METRIC_ERROR, str(error)) from None
        if kind is not None:
            raise ScoringError(kind, str(detail))
        return Score(float(value), detail)


def score_json(
    metric: Any,  # noqa: ANN401 - JSON
    item: dict[str, Any],
    answer: Any,  # noqa: ANN401 - JSON
    judgements: list[list[Any]],
    logprobs: Sequence[Any] = (),
) -> list[Any]:
    """Give value, detail and the kind of error of a score, as JSON."""
    read = DatasetItem.model_validate(item)
    try:
        found = score(
            METRIC_ADAPTER.validate_python(metric),
            read.request_data,
            read.expected,
            answer,
            {int(position): each for position, each in judgements},
            logprobs,
        )
    except ScoringError as error:
        return [0.0, str(error), error.error_type]
    return [found.value, found.detail, None]


@functools.cache
def _shared_foreign() -> ForeignCalls:
    return ForeignCalls()


@functools.cache
def _shared_limited() -> LimitedCalls:
    return LimitedCalls([_HERE])
