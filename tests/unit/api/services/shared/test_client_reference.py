from typing import Any

import bson
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from api.core.errors import RuleError
from api.services.shared.client_reference import (
    MOST_FILTERS,
    filter_of,
    from_query,
    index_of,
)
from tests.support.samples import json_keys, json_objects, json_values

plain_keys = st.text(min_size=1, max_size=8).filter(lambda key: "." not in key)
plain_objects = st.recursive(
    st.dictionaries(plain_keys, json_values, max_size=4),
    lambda children: st.dictionaries(plain_keys, children, max_size=3),
    max_leaves=6,
)


def turned(value: Any) -> Any:
    """Give an equal value whose keys come in another order."""
    if isinstance(value, list):
        return [turned(item) for item in value]
    if isinstance(value, dict):
        return {key: turned(value[key]) for key in reversed(value)}
    return value


@given(json_objects)
def test_no_key_can_be_a_path_or_an_operator(
    reference: dict[str, Any],
) -> None:
    for key in index_of(reference):
        assert key
        assert "." not in key
        assert not key.startswith("$")
        assert "\x00" not in key


@given(json_objects)
def test_every_index_can_be_stored_as_it_is(
    reference: dict[str, Any],
) -> None:
    index = index_of(reference)
    assert bson.decode(bson.encode(index, check_keys=True)) == index


@given(json_objects | plain_objects)
def test_equal_references_have_equal_indexes(
    reference: dict[str, Any],
) -> None:
    assert index_of(turned(reference)) == index_of(reference)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        pytest.param(
            {"a": [{"x": 1, "y": 2}]},
            {"a": [{"y": 2, "x": 1}]},
            id="objects inside lists",
        ),
        pytest.param(
            {"a.b": 1, "a": {"b": 2}},
            {"a": {"b": 2}, "a.b": 1},
            id="two fields of one path",
        ),
    ],
)
def test_equal_references_have_equal_indexes_in_odd_cases(
    left: dict[str, Any], right: dict[str, Any]
) -> None:
    assert left == right
    assert index_of(left) == index_of(right)


@given(json_keys, json_keys)
@example("", "\x00")
@example("", "%")
def test_different_fields_have_different_keys(left: str, right: str) -> None:
    assume(left != right)
    assert len(index_of({left: 1, right: 1})) == 2


def test_the_examples_of_the_documentation() -> None:
    assert index_of({"run.id": 7}) == {"run%2Eid": "7"}
    assert index_of({"run": {"id": 7}}) == {"run%2Eid": "7"}


@pytest.mark.parametrize("reference", [None, {}])
def test_no_reference_has_no_index_and_narrows_nothing(
    reference: dict[str, Any] | None,
) -> None:
    assert index_of(reference) == {}
    assert filter_of(reference) == {}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("7", "7"),
        ("", ""),
        (7, "7"),
        (0.5, "0.5"),
        (True, "true"),
        (None, "null"),
        ([], "[]"),
        ({}, "{}"),
        ([1, "a"], '[1,"a"]'),
        ("$where", "$where"),
        (10**40, "1" + "0" * 40),
    ],
)
def test_values_are_text_as_a_query_string_has_them(
    value: object, text: str
) -> None:
    assert index_of({"a": value}) == {"a": text}


@pytest.mark.parametrize(
    ("key", "escaped"),
    [
        ("$where", "%24where"),
        ("a.b", "a%2Eb"),
        ("a/b c", "a%2Fb%20c"),
        ("%2E", "%252E"),
        ("é", "%C3%A9"),
        ("a_b-c~1", "a_b-c~1"),
    ],
)
def test_keys_are_escaped(key: str, escaped: str) -> None:
    assert index_of({key: "x"}) == {escaped: "x"}


@given(json_objects)
def test_the_filter_asks_for_every_field_of_the_index(
    reference: dict[str, Any],
) -> None:
    expected = {
        f"referenceIndex.{key}": value
        for key, value in index_of(reference).items()
    }
    assert filter_of(reference) == expected


def test_a_query_string_names_fields_by_their_path() -> None:
    parameters = [
        ("status", "PENDING"),
        ("clientReference.run.id", "7"),
        ("clientReference.$x", "y"),
        ("clientReference.", "no field"),
        ("clientReference", "no field"),
        ("xclientReference.a", "no field"),
    ]
    assert from_query(parameters) == {"run.id": "7", "$x": "y"}
    assert from_query([]) == {}


def test_the_last_of_a_repeated_parameter_counts() -> None:
    twice = [("clientReference.a", "1"), ("clientReference.a", "2")]
    assert from_query(twice) == {"a": "2"}


@given(plain_objects)
def test_a_query_of_a_references_own_fields_finds_it(
    reference: dict[str, Any],
) -> None:
    def leaves(path: str, value: Any) -> list[tuple[str, str]]:
        if isinstance(value, dict) and value:
            inner = [leaves(f"{path}.{k}", v) for k, v in value.items()]
            return [leaf for found in inner for leaf in found]
        (text,) = index_of({"any": value}).values()
        return [(path, text)]

    parameters = [
        leaf
        for key, value in reference.items()
        for leaf in leaves(f"clientReference.{key}", value)
    ]
    # Of two fields that share a path, the index holds one.
    assume(len(dict(parameters)) == len(parameters) <= MOST_FILTERS)
    assert filter_of(from_query(parameters)) == filter_of(reference)


def test_more_filters_than_one_request_may_have() -> None:
    most = [(f"clientReference.k{n}", "1") for n in range(MOST_FILTERS)]
    assert len(from_query(most)) == MOST_FILTERS
    with pytest.raises(RuleError, match="At most 50 filters"):
        from_query([*most, ("clientReference.one-more", "1")])
