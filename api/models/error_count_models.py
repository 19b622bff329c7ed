"""How often jobs have failed with an error."""

from typing import Annotated

from pydantic import Field

from api.models.base import ApiModel, example


class ErrorCount(ApiModel):
    """One type of error, and the jobs that have ended with it."""

    model_config = example(errorType="RATE_LIMITED", count=312)

    error_type: Annotated[
        str, Field(description="As `errorData.errorType` of these jobs.")
    ]
    count: Annotated[int, Field(ge=0)]
