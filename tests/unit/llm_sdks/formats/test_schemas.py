from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_sdks.formats import schemas
from tests.support.examples import examples

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


scalars = st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=2)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
    ),
    max_leaves=4,
)
leaves = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["integer", "string", "object", "array"]),
        "const": scalars,
        "enum": st.lists(scalars, min_size=1, max_size=2, unique_by=repr),
        "minimum": st.integers(-2, 2),
        "minLength": st.integers(0, 2),
        "required": st.lists(st.sampled_from("ab"), max_size=1),
        "additionalProperties": st.booleans(),
        "default": scalars,
    },
)
schemata = st.recursive(
    leaves,
    lambda inner: st.tuples(
        leaves,
        st.fixed_dictionaries(
            {},
            optional={
                "properties": st.dictionaries(
                    st.sampled_from("ab"), inner, max_size=2
                ),
                "items": inner,
                "not": inner,
                "if": inner,
                "then": inner,
                "else": inner,
                "contains": inner,
                "oneOf": st.lists(inner, min_size=1, max_size=2),
                "anyOf": st.lists(inner, min_size=1, max_size=2),
                "allOf": st.lists(inner, min_size=1, max_size=2),
            },
        ),
    ).map(lambda both: {**both[0], **both[1]}),
    max_leaves=6,
)


@given(
    schemata,
    values,
    st.sets(st.sampled_from(sorted(schemas.REFUSABLE)), max_size=5),
)
@settings(max_examples=examples(500))
def test_a_schema_without_keywords_allows_whatever_it_allowed(
    schema: dict[str, Any], value: Any, refused: set[str]
) -> None:
    loose = schemas.without(schema, refused)
    if loose is None:
        return
    assert not schemas.keywords_of(loose) & refused
    if jsonschema_rs.is_valid(schema, value):
        assert jsonschema_rs.is_valid(loose, value)
