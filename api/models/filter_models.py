"""What of clients' requests does not reach a model's provider."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from api.models.base import ApiModel, Text, example

_NAME = r"[^.\[\]\s]{1,128}"
_FIELD = re.compile(rf"{_NAME}((\[\])*\.{_NAME}){{0,15}}")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()+,;=:@/-]*\*?")
# Without them a request is no other, but none.
_NEEDED_FIELDS = frozenset({"model", "stream"})


def _check_field(field: str) -> str:
    if not _FIELD.fullmatch(field):
        raise ValueError(
            "must be a field's name, or the way to it, such as "
            "`messages[].cache_control`"
        )
    if field in _NEEDED_FIELDS:
        raise ValueError("model and stream cannot be removed")
    return field


def _check_header(name: str) -> str:
    if not _HEADER.fullmatch(name):
        raise ValueError("must be a header's name")
    return name.lower()


def _check_path(path: str) -> str:
    if not _PATH.fullmatch(path):
        raise ValueError(
            "must begin with a slash; a `*` may stand at its end only"
        )
    return path


_Field = Annotated[Text, AfterValidator(_check_field)]
_Header = Annotated[Text, AfterValidator(_check_header)]
_Path = Annotated[Text, Field(max_length=512), AfterValidator(_check_path)]
_MOST = 100


class Filters(ApiModel):
    """Rules for requests that go to the provider as they came."""

    model_config = example(
        removeFields=["context_management", "messages[].cache_control"],
        removeHeaders=["anthropic-beta"],
        allowPaths=["/v1/messages", "/v1/files*"],
    )

    remove_fields: Annotated[
        list[_Field],
        Field(
            max_length=_MOST,
            description="Fields of JSON bodies that are taken out: a name, "
            "or the way to it. `tools[].cache_control` is in each item.",
        ),
    ] = Field(default_factory=list)
    remove_headers: Annotated[
        list[_Header],
        Field(max_length=_MOST, description="Headers that are taken out."),
    ] = Field(default_factory=list)
    allow_paths: Annotated[
        list[_Path] | None,
        Field(
            max_length=_MOST,
            description="The only paths that `/proxy` takes, as the provider "
            "has them; one that ends with `*` stands for all that begin so. "
            "Null: all paths.",
        ),
    ] = None
