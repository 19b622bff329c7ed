from typing import Any

import pytest

from llm_sdks.formats import schemas

CLOSED = {"type": "object", "additionalProperties": False}
TEXT = {"type": "string"}


def closed(required: list[str] | None = None, **fields: Any) -> dict[str, Any]:
    names = list(fields) if required is None else required
    return {**CLOSED, "properties": fields, "required": names}


@pytest.mark.parametrize(
    "schema",
    [
        closed(),
        closed(a=TEXT, b={"type": ["integer", "null"], "minimum": 3}),
        closed(a=closed(b=closed())),
        closed(a={"type": "array", "items": closed(b=TEXT)}),
        closed(a={"anyOf": [closed(b=TEXT), {"type": "null"}]}),
        closed(a={"$ref": "#/$defs/x"}) | {"$defs": {"x": closed()}},
        closed(a={"enum": [{"any": "thing"}], "const": {"type": "object"}}),
        # Fields may have any names, even those of keywords.
        closed(allOf=TEXT, properties=closed()),
    ],
)
def test_what_qualifies_is_strict(schema: dict[str, Any]) -> None:
    assert schemas.is_strict(schema)
    assert schemas.is_closed(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {},
        TEXT,
        {"type": "object"},
        {"type": "object", "properties": {"a": TEXT}, "required": ["a"]},
        closed([], a=TEXT),
        closed(a={"type": "object"}),
        closed(a={"properties": {}}),
        closed(a={"type": "array", "items": {"type": "object"}}),
        closed(a={"type": ["object", "null"]}),
        closed(a={"allOf": [TEXT]}),
        closed(a=TEXT) | {"$defs": {"x": {"type": "object"}}},
        {"anyOf": [closed(a=TEXT)]},
    ],
)
def test_what_does_not_qualify_is_not_strict(schema: dict[str, Any]) -> None:
    assert not schemas.is_strict(schema)


def test_too_deep_a_schema_is_not_strict() -> None:
    schema = closed()
    for _ in range(20):
        schema = closed(a=schema)
    assert not schemas.is_strict(schema)
    assert schemas.is_closed(schema)


def test_what_only_narrows_is_left_out_but_fields_of_that_name_stay() -> None:
    schema = closed(
        minimum={"type": "integer", "minimum": 3, "description": "small"},
        a={"type": "array", "minItems": 1, "items": {"pattern": "x", **TEXT}},
        b={"enum": [{"minimum": 1}]},
    )
    refused = schemas.NARROWING | schemas.ANNOTATIONS
    assert schemas.without(schema | {"$schema": "x"}, refused) == closed(
        minimum={"type": "integer", "description": "small"},
        a={"type": "array", "items": TEXT},
        b={"enum": [{"minimum": 1}]},
    )


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Review", "Review"),
        ("My answer!", "My_answer"),
        ("é", "answer"),
        ("x" * 100, "x" * 64),
        (5, "5"),
        (None, "answer"),
    ],
)
def test_a_schema_is_named_by_its_title(title: object, name: str) -> None:
    assert schemas.name_of({"title": title}) == name
