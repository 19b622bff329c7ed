"""What a row has come to."""

import json
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

from pydantic import ValidationError

from metasync.errors import RowFailedError
from metasync.jobs import (
    Job,
)
from metasync.questions import Form
from metasync.rows import Row
from metasync.values import (
    Metrics,
)

T = TypeVar("T")

# The fields of jobs that results are made of.
FIELDS = (
    "responseData",
    "errorData",
    "processingMetrics",
    "answeredBy",
)


@dataclass(frozen=True, slots=True)
class Result(Generic[T]):
    """A row and its answer, or why there is none.

    `index` is the row's number in the input, from 0. `value` is the
    answer in the form that was asked for, None if there is an `error`;
    `text` is the answer as text. `cost` is None if no price is known.
    """

    index: int
    row: Row
    value: T | None = None
    text: str | None = None
    error: RowFailedError | None = None
    job_id: str | None = None
    usage: Metrics = field(default_factory=Metrics)
    answered_by: str | None = None

    @property
    def ok(self) -> bool:
        """Whether there is an answer."""
        return self.error is None

    @property
    def cost(self) -> float | None:
        """What the answer has cost, in `currency`."""
        return self.usage.total_cost

    @property
    def currency(self) -> str | None:
        """The currency of the cost."""
        return self.usage.currency

    def require(self) -> T:
        """Return the value.

        Raises:
            RowFailedError: there is none.
        """
        if self.error is not None:
            raise self.error
        return cast("T", self.value)


def result_of(index: int, row: Row, job: Job, form: Form[T]) -> Result[T]:
    """Make the result of a row whose job has ended."""
    usage = job.processing_metrics or Metrics()
    known: dict[str, Any] = {
        "job_id": job.job_id,
        "usage": usage,
        "answered_by": job.answered_by,
    }
    if not job.is_answered:
        error = RowFailedError(index, *job.reason, **job.failure)
        return Result(index, row, text=error.answer, error=error, **known)
    text = _text(job.response_data, is_text=form.is_text)
    try:
        value = form.read(job.response_data)
    except ValidationError as problem:
        error = RowFailedError(
            index,
            "INVALID_ANSWER",
            _first(problem),
            job_id=job.job_id,
            answer=text,
        )
        return Result(index, row, text=text, error=error, **known)
    return Result(index, row, value=value, text=text, **known)


def refused(index: int, row: Row, message: str) -> Result[Any]:
    """Make the result of a row that did not become a job."""
    return Result(index, row, error=RowFailedError(index, "REFUSED", message))


def _text(answer: Any, *, is_text: bool) -> str:
    if is_text and isinstance(answer, dict):
        answer = answer.get("text")
    if isinstance(answer, str):
        return answer
    return json.dumps(answer, ensure_ascii=False)


def _first(problem: ValidationError) -> str:
    error = problem.errors(include_url=False)[0]
    where = ".".join(map(str, error["loc"]))
    return f"{where}: {error['msg']}" if where else str(error["msg"])
