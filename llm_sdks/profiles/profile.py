"""What a model supports.

A field that is None is not known. Four profiles are laid over one another,
field by field: what a model's owner says, what its provider has refused,
what is known of models of that name, and what the format knows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Self

TokenLimitField = Literal["max_tokens", "max_completion_tokens"]
OLDER_LIMIT: TokenLimitField = "max_tokens"
NEWER_LIMIT: TokenLimitField = "max_completion_tokens"


@dataclass(frozen=True, slots=True)
class Profile:
    """What a model takes; None is "not known here".

    Unsupported options that only shape how an answer is made (temperature,
    top_p, top_k, seed, penalties, reasoning effort, parallel tool calls,
    strictness) are left out of a call. A system text goes into the first
    user message, a schema into the prompt. Tools, images, stop sequences
    and log probabilities that are not supported end the call with an error.
    """

    supports_temperature: bool | None = None
    supports_top_p: bool | None = None
    supports_top_k: bool | None = None
    supports_seed: bool | None = None
    supports_penalties: bool | None = None
    supports_stop: bool | None = None
    supports_logprobs: bool | None = None
    supports_reasoning_effort: bool | None = None
    supports_json_schema: bool | None = None
    supports_json_object: bool | None = None
    supports_strict_schema: bool | None = None
    supports_stream_usage: bool | None = None
    supports_tools: bool | None = None
    supports_parallel_tool_calls: bool | None = None
    supports_images: bool | None = None
    supports_system: bool | None = None
    # None: by the field of the model that sets the limit.
    token_limit_field: TokenLimitField | None = None
    # Keywords of JSON Schema that the provider refuses in a schema.
    schema_keywords_refused: tuple[str, ...] = ()

    def over(self, other: "Profile") -> "Profile":
        """Return this profile, with the other where this one knows nothing.

        Refused keywords add up.
        """
        merged = {
            name: other_value if own is None else own
            for name, own, other_value in self._beside(other)
        }
        keywords = {
            *self.schema_keywords_refused,
            *other.schema_keywords_refused,
        }
        merged["schema_keywords_refused"] = tuple(sorted(keywords))
        return Profile(**merged)

    def _beside(self, other: "Profile") -> list[tuple[str, Any, Any]]:
        return [
            (name, getattr(self, name), getattr(other, name)) for name in NAMES
        ]

    def known(self) -> dict[str, Any]:
        """Return the fields that are known, by their names."""
        return {
            name: value
            for name, value, _ in self._beside(self)
            if value not in (None, ())
        }

    @classmethod
    def of(cls, known: Mapping[str, Any]) -> Self:
        """Make the profile of which `known` gave the fields."""
        return cls(**known)


NAMES = tuple(each.name for each in fields(Profile))
NOTHING = Profile()
# A format that takes every option.
EVERYTHING = Profile.of(
    {name: True for name in NAMES if name.startswith("supports_")}
)
