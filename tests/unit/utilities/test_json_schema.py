import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.timing import is_within, processor_seconds
from utilities import json_schema
from utilities.json_schema import (
    SchemaError,
    check_schema,
    first_fitting,
    is_light,
    problem_of,
)
from utilities.schema_size import LARGEST, SchemaWork, measure

RECURSIVE = {
    "$defs": {"node": {"properties": {"next": {"$ref": "#/$defs/node"}}}},
    "$ref": "#/$defs/node",
}


def doubling(levels: int, keyword: str) -> dict[str, Any]:
    """Each level refers twice to the next."""
    parts: dict[str, Any] = {
        f"a{n}": {keyword: [{"$ref": f"#/$defs/a{n + 1}"}] * 2}
        for n in range(levels)
    }
    parts[f"a{levels}"] = {"type": "object"}
    return {"$defs": parts, "$ref": "#/$defs/a0"}


def doubling_properties(levels: int) -> dict[str, Any]:
    schema = doubling(levels, "anyOf")
    for n in range(levels):
        reference = {"$ref": f"#/$defs/a{n + 1}"}
        schema["$defs"][f"a{n}"] = {
            "properties": {"x": reference, "y": reference}
        }
    return schema


@pytest.mark.parametrize("keyword", ["allOf", "anyOf", "oneOf", "prefixItems"])
@pytest.mark.parametrize("levels", [18, 40])
def test_a_schema_that_unfolds_without_bounds_is_refused(
    keyword: str, levels: int
) -> None:
    schema = doubling(levels, keyword)

    def work() -> None:
        with pytest.raises(SchemaError, match="too large"):
            check_schema(schema)

    assert is_within(0.05, lambda: processor_seconds(work))


def test_so_is_one_that_unfolds_through_properties() -> None:
    with pytest.raises(SchemaError, match="too large"):
        check_schema(doubling_properties(40))


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object", "properties": {"$ref": {"type": "string"}}},
        {"properties": {"$id": {"type": "string"}}},
        {"$id": "https://e.org/a", "$ref": "#/$defs/b", "$defs": {"b": {}}},
        {"$defs": {"b": {"$anchor": "here"}}, "$ref": "#here"},
        {"$defs": {"a/b": {}}, "$ref": "#/$defs/a~1b"},
        {"enum": [{"$ref": "nowhere"}]},
        {"$ref": "#"},
        RECURSIVE,
        doubling(8, "anyOf"),
    ],
)  # fmt: skip
def test_ordinary_schemas_are_taken(schema: dict[str, Any]) -> None:
    check_schema(schema)


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "nonsense"}, "no usable JSON Schema"),
        ({"$ref": "#/$defs/gone"}, "has no part"),
        ({"$ref": "https://example.org/x.json"}, "only its own parts"),
        ({"$ref": "file:///etc/passwd"}, "only its own parts"),
        ({"properties": {"a": {"$id": "https://e.org/b"}}}, "below its root"),
        ({"pattern": "(?=a)b"}, "no usable JSON Schema"),
        ({"pattern": r"(\w{1000}){1000}"}, "no usable JSON Schema"),
        ({"patternProperties": {f"a{n}": {} for n in range(101)}}, "patterns"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_reason(
    schema: dict[str, Any], reason: str
) -> None:
    with pytest.raises(SchemaError, match=reason):
        check_schema(schema)


def test_a_long_chain_of_references_is_refused() -> None:
    parts: dict[str, Any] = {
        f"a{n}": {"$ref": f"#/$defs/a{n + 1}"} for n in range(1500)
    }
    schema = {"$defs": parts | {"a1500": {}}, "$ref": "#/$defs/a0"}
    with pytest.raises(SchemaError, match="nested too deeply"):
        check_schema(schema)


def test_the_size_counts_each_reference_and_recursion_once() -> None:
    assert measure({"items": {"items": {}}}) == SchemaWork(3, False)
    assert measure(doubling(2, "allOf")).size == 1 + 1 + 2 * (2 + 2 * 2)
    assert measure(RECURSIVE).is_recursive


@given(
    st.recursive(
        st.just({}),
        lambda inner: st.fixed_dictionaries(
            {}, optional={"allOf": st.lists(inner), "items": inner}
        ),
        max_leaves=30,
    )
)
def test_without_references_the_size_is_that_of_the_text(
    schema: dict[str, Any],
) -> None:
    assert measure(schema).size == json.dumps(schema).count("{")
    assert measure(schema).size <= LARGEST


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"a": 1}, None),
        ({"a": "x"}, 'at /a: "x" is not of type "integer"'),
    ],
)
def test_a_mismatch_says_where(value: Any, problem: str | None) -> None:
    schema = {"properties": {"a": {"type": "integer"}}}
    assert problem_of(json.dumps(value), json.dumps(schema)) == problem


def test_the_first_value_that_fits_is_found() -> None:
    schema = json.dumps({"type": "array"})
    assert first_fitting(["{}", "[]", "[1]"], schema) == (1, None)
    place, problem = first_fitting(["{}", "1"], schema)
    assert place == 0
    assert problem is not None
    assert "{}" in problem


def test_a_pattern_that_backtracks_elsewhere_takes_no_time() -> None:
    schema = json.dumps({"pattern": "^(a+)+$"})

    def work() -> None:
        assert problem_of(json.dumps("a" * 10_000 + "b"), schema) is not None

    assert is_within(0.5, lambda: processor_seconds(work))


@pytest.mark.parametrize(
    ("schema", "light"),
    [
        ({"type": "object"}, True),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, True),
        (RECURSIVE, False),
        (doubling(12, "anyOf"), False),
        ({"uniqueItems": True}, False),
        ({"pattern": "a"}, False),
    ],
)
def test_only_what_surely_takes_little_is_light(
    schema: dict[str, Any],
    light: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    assert is_light("{}", json.dumps(schema)) is light


def test_a_large_value_is_not_light() -> None:
    assert not is_light(json.dumps("x" * 20_000), "{}")


def test_compiled_schemas_are_kept_by_bytes() -> None:
    for n in range(20):
        properties = {f"p{n}x{m}": {"type": "string"} for m in range(1000)}
        check_schema({"properties": properties})
    cache = json_schema._validators
    assert sum(map(len, cache._made)) == cache._bytes <= cache._limit


@pytest.mark.parametrize(
    ("schema", "is_one"),
    [
        ({}, True),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, True),
        ({"$ref": "#/$defs/none"}, True),
        # Draft 4 has a truth value here.
        (
            {
                "$schema": "http://json-schema.org/draft-04/schema#",
                "minimum": 1,
                "exclusiveMinimum": True,
            },
            True,
        ),
        ({"minimum": 1, "exclusiveMinimum": True}, False),
        ({"type": "wonder"}, False),
        ({"required": None}, False),
        ({"properties": {"a": 5}}, False),
        # Nothing is asked for at such an address.
        ({"$schema": "http://127.0.0.1:9/schema"}, True),
        ({"$schema": "http://127.0.0.1:9/schema", "type": 5}, False),
        ({"$schema": 5}, True),
    ],
)
def test_schemas_are_told_by_their_keywords(
    schema: dict[str, Any], *, is_one: bool
) -> None:
    assert json_schema.is_schema(schema) is is_one
