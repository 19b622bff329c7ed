import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from api.models.filter_models import Filters
from api.services.gateway.filters import allows, without_fields

VALUES = st.recursive(
    st.integers(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=12,
)
BODIES = st.dictionaries(st.sampled_from("abc"), VALUES)


@pytest.mark.parametrize(
    ("field", "body", "left"),
    [
        ("a", {"a": 1, "b": 2}, {"b": 2}),
        ("a.b", {"a": {"b": 1, "c": 2}}, {"a": {"c": 2}}),
        ("a[].b", {"a": [{"b": 1}, 5, {"c": 2}]}, {"a": [{}, 5, {"c": 2}]}),
        ("a[][].b", {"a": [[{"b": 1}]]}, {"a": [[{}]]}),
        ("a.b", {"a": [{"b": 1}]}, {"a": [{"b": 1}]}),
        ("a[].b", {"a": {"b": 1}}, {"a": {"b": 1}}),
        ("x-y.z_1", {"x-y": {"z_1": 0}}, {"x-y": {}}),
        ("b", {"a": None}, {"a": None}),
    ],
)
def test_a_field_is_found_by_its_way(field: str, body: Any, left: Any) -> None:
    assert without_fields(body, [field]) == left
    Filters(remove_fields=[field])


@given(
    body=BODIES, field=st.from_regex(r"[abc](\[\])?(\.[abc])?", fullmatch=True)
)
def test_bodies_are_changed_in_a_copy(body: Any, field: str) -> None:
    before = copy.deepcopy(body)
    once = without_fields(body, [field.removesuffix("[]")])
    assert body == before
    assert without_fields(once, [field.removesuffix("[]")]) == once


@pytest.mark.parametrize(
    ("path", "is_allowed"),
    [
        ("/v1/files", True),
        ("/v1/files/f-1", True),
        ("/v1/filesystem", True),
        ("/v1/messages", True),
        ("/v1/messages/", False),
        ("/v1/batches", False),
        ("/", False),
    ],
)
def test_paths_are_allowed_by_name_or_beginning(
    path: str,
    is_allowed: bool,  # noqa: FBT001 - a value of the table
) -> None:
    filters = Filters(allow_paths=["/v1/files*", "/v1/messages"])
    assert allows(filters, path) is is_allowed
    assert allows(None, path)
    assert allows(Filters(), path)
    assert not allows(Filters(allow_paths=[]), path)


def test_header_names_are_compared_in_lower_case() -> None:
    assert Filters(remove_headers=["Anthropic-Beta"]).remove_headers == [
        "anthropic-beta"
    ]


@pytest.mark.parametrize(
    "field", ["stream", "model", "a.", "a[]", "[]", "a b"]
)
def test_what_is_no_field_is_refused(field: str) -> None:
    with pytest.raises(ValidationError):
        Filters(remove_fields=[field])
