"""Prompts: versioned texts, a client's own or public."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field

from api.models.base import ApiModel, Name, StoredModel, Text


class PromptStatus(StrEnum):
    """Where a prompt stands in its own life."""

    PUBLISHED = "PUBLISHED"
    DRAFT = "DRAFT"
    ARCHIVE = "ARCHIVE"


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
PromptText = Annotated[Text, Field(min_length=1, max_length=4_000_000)]


class PromptCreate(ApiModel):
    """`POST /prompts`; without a version it gets the next whole number."""

    name: Name
    version: Version | None = None
    type: Name
    status: PromptStatus
    prompt: PromptText
    is_public: bool = False


class PromptUpdate(ApiModel):
    """`PATCH /prompts/{promptId}`; what is left out stays."""

    version: Version | None = None
    status: PromptStatus | None = None
    prompt: PromptText | None = None
    is_public: bool | None = None
    client_id: Name | None = None


class Prompt(StoredModel):
    """A prompt; `clientId` is null when it is public."""

    id_field: ClassVar[str] = "promptId"

    prompt_id: str
    name: str
    version: str
    type: str
    status: PromptStatus
    prompt: str
    client_id: str | None
    is_public: bool
