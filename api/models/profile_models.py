"""What a model supports, as its owner says it or as it was learnt.

The fields and what they mean are those of `llm_sdks.profiles.profile`.
"""

import functools
from typing import Annotated, Any, Self

from pydantic import Field
from pydantic.alias_generators import to_camel

from api.models.base import ApiModel, Text
from llm_sdks.profiles.profile import (
    NEWER_LIMIT,
    OLDER_LIMIT,
    Profile,
    TokenLimitField,
)

_Keyword = Annotated[Text, Field(min_length=1, max_length=64)]
_OTHER_LIMIT = {NEWER_LIMIT: OLDER_LIMIT, OLDER_LIMIT: NEWER_LIMIT}


class ProfileSettings(ApiModel):
    """What a model supports; null if it is not declared."""

    supports_temperature: bool | None = None
    supports_top_p: bool | None = None
    supports_top_k: bool | None = None
    supports_seed: bool | None = None
    supports_penalties: bool | None = None
    supports_stop: bool | None = None
    supports_logprobs: bool | None = None
    supports_reasoning_effort: bool | None = None
    supports_json_schema: Annotated[
        bool | None,
        Field(
            description="If false, the schema is added to the prompt, and "
            "JSON mode is used if there is one."
        ),
    ] = None
    supports_json_object: bool | None = None
    supports_strict_schema: bool | None = None
    supports_stream_usage: bool | None = None
    supports_tools: bool | None = None
    supports_parallel_tool_calls: bool | None = None
    supports_images: bool | None = None
    supports_system: Annotated[
        bool | None,
        Field(
            description="If false, the system text is added to the first "
            "user message."
        ),
    ] = None
    token_limit_field: Annotated[
        TokenLimitField | None,
        Field(
            description="The provider's name of the token limit; null: "
            "decided by which of `maxToken` and `maxCompletionToken` is set."
        ),
    ] = None
    schema_keywords_refused: Annotated[
        tuple[_Keyword, ...],
        Field(
            max_length=100,
            description="Keywords of JSON Schema that are not sent; answers "
            "are checked against the whole schema.",
        ),
    ] = ()

    @functools.cached_property
    def profile(self) -> Profile:
        """Give the same values as the plug-ins have them."""
        fields: dict[str, Any] = self.model_dump()
        return Profile(**fields)

    @classmethod
    def of(cls, profile: Profile) -> Self:
        """Show a profile of the plug-ins."""
        return cls(**profile.known())

    @property
    def refused_options(self) -> tuple[str, ...]:
        """The options that are not supported, by the names of requests."""
        fields = self.model_dump(exclude={"schema_keywords_refused"})
        names = [
            to_camel(name.removeprefix("supports_"))
            for name, value in fields.items()
            if value is False
        ]
        if self.token_limit_field is not None:
            names.append(_OTHER_LIMIT[self.token_limit_field])
        names += [f"schema: {each}" for each in self.schema_keywords_refused]
        return tuple(sorted(names))
