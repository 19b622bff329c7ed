"""Prompts: versioned texts, a client's own or public."""

import re
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field, PlainSerializer

from api.models.base import (
    ApiModel,
    Name,
    StoredModel,
    Text,
    example,
    is_unset,
)


class PromptStatus(StrEnum):
    """The status of a prompt."""

    PUBLISHED = "PUBLISHED"
    DRAFT = "DRAFT"
    ARCHIVE = "ARCHIVE"


_WHOLE_NUMBER = re.compile(r"0|-?[1-9][0-9]*")


def _number_to_text(version: object) -> object:
    # Versions are text (`2`, `2-short`); clients also send plain numbers.
    if isinstance(version, int) and not isinstance(version, bool):
        return str(version)
    return version


Version = Annotated[
    Text,
    Field(min_length=1, max_length=64),
    BeforeValidator(_number_to_text),
]


def _as_number(version: str) -> int | str:
    # What reads the same as a number is one; `007` and `1.0` are texts.
    return int(version) if _WHOLE_NUMBER.fullmatch(version) else version


ShownVersion = Annotated[
    str,
    PlainSerializer(_as_number, return_type=int | str, when_used="json"),
]
PromptText = Annotated[Text, Field(min_length=1, max_length=4_000_000)]


class PromptCreate(ApiModel):
    """`POST /prompts`; without a version it gets the next whole number."""

    model_config = example(
        name="sentiment",
        type="WORKING",
        status="PUBLISHED",
        prompt='Is the writer happy? Answer as JSON: {"happy": true}',
        isPublic=False,
    )

    name: Name
    version: Version | None = None
    type: Annotated[
        Name,
        Field(
            description="The purpose of the prompt, a "
            "name chosen by the client."
        ),
    ]
    status: PromptStatus = PromptStatus.PUBLISHED
    prompt: PromptText
    is_public: Annotated[
        bool,
        Field(description="Visible to every client; needs the admin key."),
    ] = False


class PromptSource(ApiModel):
    """Where a suggested prompt comes from."""

    job_id: Annotated[
        str | None,
        Field(
            exclude_if=is_unset,
            description="The job whose meta step suggested it.",
        ),
    ] = None
    prompt_id: Annotated[
        str, Field(description="The prompt that it should replace.")
    ]
    run_id: Annotated[
        str | None, Field(description="The run of that job, if any.")
    ] = None
    iteration: int | None = None
    candidate: Annotated[
        int | None,
        Field(
            exclude_if=is_unset,
            description="The candidate of a run on a dataset.",
        ),
    ] = None


class PromptDraft(PromptCreate):
    """A prompt that a meta step suggested."""

    source: PromptSource


class PromptUpdate(ApiModel):
    """`PATCH /prompts/{promptId}`; other fields are kept."""

    model_config = example(status="ARCHIVE")

    version: Version | None = None
    status: PromptStatus | None = None
    prompt: PromptText | None = None
    is_public: bool | None = None
    client_id: Annotated[
        Name | None,
        Field(description="The owner; only the administrator may set it."),
    ] = None


class Prompt(StoredModel):
    """A prompt; `clientId` is null when it is public."""

    id_field: ClassVar[str] = "promptId"

    prompt_id: str
    name: str
    version: ShownVersion
    type: str
    status: PromptStatus
    prompt: str
    client_id: str | None
    is_public: bool
    source: Annotated[
        PromptSource | None,
        Field(
            exclude_if=is_unset,
            description="The origin of a prompt that a meta step suggested.",
        ),
    ] = None
