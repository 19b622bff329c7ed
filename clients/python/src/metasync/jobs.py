"""Jobs, as typed values."""

import json
from datetime import datetime
from typing import Any

from pydantic import Field

from metasync.errors import JobFailedError
from metasync.values import Metrics, Stored, Value

GOING_ON = frozenset({"PENDING", "PROCESSING"})
# A job in one of these has its answer, whatever became of that.
ANSWERED = frozenset({"PROCESSED", "CONSUMED", "ERROR_CONSUMING"})
FAILED, CANCELED = "ERROR_PROCESSING", "CANCELED"


class WaitingFor(Value):
    """Why a job waits."""

    kind: str
    until: datetime | None = None
    detail: str | None = None


class AttemptRecord(Value):
    """A try of a job that gave no answer."""

    at: datetime
    attempt: int
    kind: str
    reason: str
    times: int = 1
    model: str | None = None


class Job(Stored):
    """One piece of work, and its answer once there is one."""

    job_id: str
    status: str = ""
    id: str | None = None
    operation: str = ""
    model: str = ""
    working_prompts: list[str] = Field(default_factory=list)
    temperature: float | None = None
    priority: int | None = None
    request_data: dict[str, Any] | None = None
    variables: dict[str, Any] | None = None
    messages: list[dict[str, Any]] | None = None
    client_reference: dict[str, Any] | None = None
    batch_key: str | None = None
    response_format: str = "json"
    response_data: Any = None
    error_data: dict[str, Any] | None = None
    eval_result: Any = None
    suggested_prompt_id: str | None = None
    answered_by: str | None = None
    processing_metrics: Metrics | None = None
    attempts: int = 0
    failures: int = 0
    attempt_history: list[AttemptRecord] | None = None
    waiting_for: WaitingFor | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def has_ended(self) -> bool:
        """Whether the job neither waits nor runs."""
        return bool(self.status) and self.status not in GOING_ON

    @property
    def is_answered(self) -> bool:
        """Whether there is an answer."""
        return self.status in ANSWERED

    def require(self) -> Any:
        """Return the answer.

        Raises:
            JobFailedError: there is none; says why.
        """
        if not self.is_answered:
            raise JobFailedError(*self.reason, **self.failure)
        return self.response_data

    @property
    def reason(self) -> tuple[str, str]:
        """Why there is no answer: the kind of error, and a text."""
        told = self.error_data or {}
        ended = f"the job was {self.status.lower()}"
        kind = told.get("errorType") or self.status
        return str(kind), str(told.get("message") or ended)

    @property
    def failure(self) -> dict[str, Any]:
        """What more an error of this job can tell."""
        told = self.error_data or {}
        answer = told.get("failedResponseData")
        if answer is not None and not isinstance(answer, str):
            answer = json.dumps(answer, ensure_ascii=False)
        return {
            "job_id": self.job_id,
            "answer": answer,
            "http_status": told.get("httpStatus"),
        }


class JobsEnded(Value):
    """Which of some jobs have ended."""

    jobs: list[Job]
    unknown: list[str]
    waiting: int


class JobSummary(Value):
    """How many jobs are in each status, and what they cost."""

    pending: int = Field(default=0, alias="PENDING")
    processing: int = Field(default=0, alias="PROCESSING")
    processed: int = Field(default=0, alias="PROCESSED")
    error_processing: int = Field(default=0, alias="ERROR_PROCESSING")
    consumed: int = Field(default=0, alias="CONSUMED")
    error_consuming: int = Field(default=0, alias="ERROR_CONSUMING")
    canceled: int = Field(default=0, alias="CANCELED")
    total: int = 0
    processing_metrics: Metrics = Field(default_factory=Metrics)

    @property
    def going_on(self) -> int:
        """How many wait or run."""
        return self.pending + self.processing


class BulkResult(Value):
    """How many jobs matched, and how many were changed."""

    matched: int
    changed: int
