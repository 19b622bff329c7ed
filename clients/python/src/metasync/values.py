"""What all typed values have, and what several of them are made of.

Fields that a later version of the server adds are kept, and states are
texts: a client need not be as new as its server.
"""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class Value(BaseModel):
    """camelCase on the wire, snake_case here, never changed."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        protected_namespaces=(),
        frozen=True,
        extra="allow",
    )


class Metadata(Value):
    """When something was made and changed, and by whom."""

    created_at: datetime
    updated_at: datetime
    created_by: str | None = None
    updated_by: str | None = None


class Stored(Value):
    """Something that the server keeps."""

    # Absent where only some fields were asked for.
    metadata: Metadata | None = Field(default=None, alias="_metadata")


class Metrics(Value):
    """Tokens, seconds and money of one or several calls."""

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    duration: float = 0.0
    input_cost: float | None = None
    output_cost: float | None = None
    total_cost: float | None = None
    currency: str | None = None
