"""Prompt flows: named sequences of prompts."""

from typing import Annotated, ClassVar

from pydantic import Field

from api.models.base import ApiModel, Name, StoredModel, example

PromptIds = Annotated[
    list[Name], Field(min_length=1, max_length=100, fail_fast=True)
]


class PromptFlowCreate(ApiModel):
    """`POST /prompt-flows`; the ids are checked when a job uses them."""

    model_config = example(
        name="sentiment in two steps",
        promptIds=["665f1c2ab7e4d90012345678"],
        isPublic=False,
    )

    name: Name
    prompt_ids: PromptIds
    is_public: Annotated[
        bool,
        Field(description="Visible to every client; needs the admin key."),
    ] = False


class PromptFlowUpdate(ApiModel):
    """`PATCH /prompt-flows/{flowId}`; other fields are kept."""

    model_config = example(name="sentiment in one step")

    name: Name | None = None
    prompt_ids: PromptIds | None = None
    is_public: bool | None = None
    client_id: Annotated[
        Name | None,
        Field(description="The owner; only the administrator may set it."),
    ] = None


class PromptFlow(StoredModel):
    """A prompt flow; `clientId` is null when it is public."""

    id_field: ClassVar[str] = "flowId"

    flow_id: str
    name: str
    prompt_ids: list[str]
    client_id: str | None
    is_public: bool
