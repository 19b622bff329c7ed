import contextlib
import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provider_simulator.schema_instance import (
    SchemaError,
    instance,
)
from tests.support.examples import examples

Schema = dict[str, Any]
small = st.integers(-50, 50)
scalars = st.none() | st.booleans() | small | st.text(max_size=5)
names = st.sampled_from(["a", "b", "c", "d e"])


@st.composite
def numbers(draw: st.DrawFn) -> Schema:
    kind = draw(st.sampled_from(["integer", "number"]))
    lowest = draw(small)
    schema: Schema = {"type": kind}
    if draw(st.booleans()):
        schema[draw(st.sampled_from(["minimum", "exclusiveMinimum"]))] = lowest
    if draw(st.booleans()):
        highest = lowest + draw(st.integers(2, 9))
        schema[draw(st.sampled_from(["maximum", "exclusiveMaximum"]))] = (
            highest
        )
    elif draw(st.booleans()):
        schema["multipleOf"] = draw(st.integers(1, 7))
    return schema


@st.composite
def strings(draw: st.DrawFn) -> Schema:
    least = draw(st.integers(0, 10))
    most = least + draw(st.integers(0, 10))
    return {"type": "string", "minLength": least, "maxLength": most}


@st.composite
def objects(draw: st.DrawFn, children: st.SearchStrategy[Schema]) -> Schema:
    properties = draw(st.dictionaries(names, children, max_size=3))
    required = st.lists(st.sampled_from(sorted(properties)), unique=True)
    return {
        "type": "object",
        "properties": properties,
        "required": draw(required) if properties else [],
        "additionalProperties": draw(st.booleans()),
    }


@st.composite
def arrays(draw: st.DrawFn, children: st.SearchStrategy[Schema]) -> Schema:
    least = draw(st.integers(0, 3))
    most = least + draw(st.integers(0, 2))
    return {
        "type": "array",
        "items": draw(children),
        "minItems": least,
        "maxItems": most,
    }


leaves = (
    numbers()
    | strings()
    | st.builds(lambda value: {"const": value}, scalars)
    | st.builds(lambda values: {"enum": values}, st.lists(scalars, min_size=1))
    | st.sampled_from([{"type": "boolean"}, {"type": "null"}, {}])
    | st.just({"type": ["null", "string"]})
)
schemas = st.recursive(
    leaves,
    lambda children: (
        objects(children)
        | arrays(children)
        | st.builds(
            lambda options: {"anyOf": options},
            st.lists(children, min_size=1, max_size=3),
        )
    ),
    max_leaves=8,
)


def check(schema: Schema) -> Any:
    value = instance(schema)
    jsonschema.Draft202012Validator(schema).validate(value)
    return value


@settings(max_examples=examples(300))
@given(schemas)
def test_an_instance_satisfies_its_schema(schema: Schema) -> None:
    check(schema)


@given(schemas)
def test_it_is_the_same_every_time(schema: Schema) -> None:
    assert instance(schema) == instance(schema)


def test_references_and_joined_parts() -> None:
    schema = {
        "$defs": {"mood": {"type": "string", "enum": ["good", "bad"]}},
        "allOf": [
            {
                "type": "object",
                "properties": {"mood": {"$ref": "#/$defs/mood"}},
            },
            {"required": ["mood"]},
        ],
    }
    assert check(schema) == {"mood": "good"}


def test_a_schema_that_refers_to_itself_has_an_end() -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "children": {"type": "array", "items": {"$ref": "#"}},
        },
        "required": ["name", "children"],
        "additionalProperties": False,
    }
    check(schema)


@pytest.mark.parametrize(
    "items",
    [
        {"type": "integer"},
        {"type": "string", "maxLength": 4},
        {"enum": [1, 2, 3]},
        {"type": "number", "minimum": 0.5},
    ],
)
def test_items_of_a_set_differ(items: Schema) -> None:
    check(
        {"type": "array", "items": items, "minItems": 3, "uniqueItems": True}
    )


def test_the_dialect_of_gemini() -> None:
    schema = {
        "type": "OBJECT",
        "properties": {
            "mood": {"type": "STRING", "enum": ["good", "bad"]},
            "score": {"type": "INTEGER", "nullable": True},
        },
    }
    assert instance(schema) == {"mood": "good", "score": 0}


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/nowhere"},
        {"$ref": "#"},
        {"type": "object", "required": ["a"]},
        {"type": "array", "items": False, "minItems": 1},
        {"type": "no such type"},
        {"prefixItems": [{"type": "string"}], "type": "array"},
    ],
)
def test_odd_schemas_do_no_harm(schema: Schema) -> None:
    instance(schema)


@pytest.mark.parametrize(
    "form", ["date", "date-time", "email", "uuid", "ipv4", "ipv6"]
)
def test_formats(form: str) -> None:
    schema = {"type": "string", "format": form}
    jsonschema.validate(
        instance(schema),
        schema,
        format_checker=jsonschema.FormatChecker(),
    )


@pytest.mark.parametrize(
    "required", [["a", "b"], ["a", "b", "c", "d", "e", "f"]]
)
def test_a_schema_without_end_takes_no_time(required: list[str]) -> None:
    properties = {name: {"$ref": "#"} for name in required}
    instance(
        {"type": "object", "properties": properties, "required": required}
    )


keywords = st.sampled_from(
    [
        *("type", "properties", "required", "enum", "items", "prefixItems"),
        *("minimum", "maximum", "exclusiveMinimum", "multipleOf", "format"),
        *("minItems", "maxItems", "minLength", "maxLength", "allOf", "anyOf"),
        *("$ref", "minProperties", "additionalProperties", "const"),
    ]
)
types = st.sampled_from(["object", "array", "string", "integer", "number"])
anything = st.recursive(
    scalars | types | st.just(10**12) | st.floats(allow_nan=False),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(keywords | names, children, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=examples(300))
@given(st.dictionaries(keywords, anything, max_size=5))
def test_what_is_no_schema_is_told(schema: Schema) -> None:
    with contextlib.suppress(SchemaError):
        json.dumps(instance(schema))
