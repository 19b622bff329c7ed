"""`POST /jobs/answers`: earlier answers to many questions at once."""

from typing import Annotated, Any

from pydantic import Field

from api.models.base import ApiModel, example, is_unset
from api.models.job_models import RESULT, JobCreate

MOST_ROWS = 1000


class AnswersWanted(ApiModel):
    """Questions that differ in their rows only."""

    model_config = example(
        job={
            "operation": "sentiment",
            "cache": "use",
            "workingPrompts": ["665f1c2ab7e4d90012345678"],
            "model": "gpt-4o-mini",
            "requestData": {},
        },
        rows=[{"text": "I would buy it again."}, {"text": "Never again."}],
    )

    job: Annotated[
        JobCreate, Field(description="A job as it would be submitted.")
    ]
    rows: Annotated[
        list[dict[str, Any]],
        Field(
            min_length=1,
            max_length=MOST_ROWS,
            description="Each stands in place of the job's requestData; of "
            "its variables, if it has any.",
        ),
    ]


class KnownAnswer(ApiModel):
    """An answer, and the job that has it."""

    job_id: str
    response_data: Annotated[Any, Field(description=RESULT)] = None
    response_logprobs: Annotated[
        list[list[Any]] | None, Field(exclude_if=is_unset)
    ] = None


class AnswersFound(ApiModel):
    """What is known: null for a row that has to be asked."""

    known: int
    answers: list[KnownAnswer | None]
