"""The one shape of everything that crosses the wire or the store."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue
from pydantic.alias_generators import to_camel

from utilities import payload

ID_PATTERN = r"^[0-9a-f]{24}$"


def is_unset(value: object) -> bool:
    """Tell whether a field has no value: what is not set is not shown."""
    return value is None


def is_empty(value: object) -> bool:
    """Tell whether a field has nothing in it: it is not shown either."""
    return not value


def _refuse_null_character(text: object) -> object:
    # BSON's field names and SQLite's text end at a null character.
    if isinstance(text, str) and "\x00" in text:
        raise ValueError("must not contain a null character")
    return text


def _refuse_half_characters(text: object) -> object:
    # JSON can spell half of a surrogate pair; UTF-8 cannot carry it.
    if isinstance(text, str):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("must be valid Unicode") from None
    return text


Text = Annotated[
    str,
    BeforeValidator(_refuse_null_character),
    BeforeValidator(_refuse_half_characters),
]
Name = Annotated[Text, Field(min_length=1, max_length=256)]


class ApiModel(BaseModel):
    """camelCase outside, snake_case inside, never changed once made."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        protected_namespaces=(),
        ser_json_inf_nan="null",
    )


def example(**fields: JsonValue) -> ConfigDict:
    """Give a `model_config` that shows one example, by names on the wire."""
    return ConfigDict(json_schema_extra={"examples": [fields]})


def example_of(model: type[ApiModel]) -> JsonValue:
    """Return the example that `example` has given a model."""
    extra = model.model_config.get("json_schema_extra")
    assert isinstance(extra, dict)  # noqa: S101 - it was given one
    examples = extra["examples"]
    assert isinstance(examples, list)  # noqa: S101 - as above
    return examples[0]


class Metadata(ApiModel):
    """Who created, changed and deleted a document, and when (UTC)."""

    is_deleted: bool = False
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None
    archived_at: datetime | None = None
    created_by: Annotated[
        str | None,
        Field(description="A client's id, `admin`, or `worker`."),
    ] = None
    updated_by: str | None = None
    deleted_by: str | None = None


class StoredModel(ApiModel):
    """Something the store keeps, as the API answers it."""

    # The field with the document's `_id`, by its name on the wire.
    id_field: ClassVar[str] = "id"
    # Fields kept as JSON text, by their names on the wire.
    payload_fields: ClassVar[frozenset[str]] = frozenset()

    metadata: Annotated[Metadata, Field(alias="_metadata")]

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read a document of the store into its typed value."""
        fields = dict(document)
        fields.setdefault(cls.id_field, str(fields.pop("_id")))
        for name in cls.payload_fields:
            if isinstance(text := fields.get(name), str):
                fields[name] = payload.load(text)
        return cls.model_validate(fields)
