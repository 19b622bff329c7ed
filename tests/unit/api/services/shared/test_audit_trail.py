"""What is noted of changes, and what never is."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import to_json

from api.services.shared.audit_trail import (
    MOST_CHANGES,
    MOST_IDS,
    Trail,
    current_trail,
    note_changed,
    note_deleted,
    note_ids,
    note_made,
)


@pytest.fixture
def trail() -> Iterator[Trail]:
    made = Trail()
    token = current_trail.set(made)
    yield made
    current_trail.reset(token)


def after(trail: Trail, **fields: Any) -> Any:
    note_made("Model", {"_id": 1, **fields})
    return trail.changes[-1].after


@pytest.mark.parametrize(
    "name",
    [
        "key",
        "keys",
        "keyDigest",
        "secret",
        "clientSecret",
        "salt",
        "password",
        "api_key",
        "metricsToken",
        "authorization",
    ],
)
def test_secrets_are_hidden(trail: Trail, name: str) -> None:
    shown = after(trail, **{name: "hush", "deep": {name: ["hush", "hush"]}})
    assert shown[name] == "hidden"
    assert "hush" not in str(shown)


def test_what_is_no_secret_is_shown(trail: Trail) -> None:
    fields = {"maxToken": 5, "name": "n", "enabled": True, "group": None}
    assert after(trail, **fields) == fields


@pytest.mark.parametrize("kind", ["Prompt", "Job", "Client", "Webhook"])
def test_words_of_clients_are_digests(trail: Trail, kind: str) -> None:
    def noted(**fields: Any) -> Any:
        note_made(kind, {"_id": 1, **fields})
        return trail.changes[-1].after

    shown = noted(name="private", status="DRAFT", clientId="c", count=3)
    assert shown["name"].keys() == {"length", "digest"}
    assert (shown["status"], shown["clientId"]) == ("DRAFT", "c")
    assert shown["count"] == 3
    assert noted(name="another")["name"] != shown["name"]
    assert noted(name="private")["name"] == shown["name"]
    deep = noted(data={"private": ["private"]}, items=["private"])
    assert "private" not in str(deep)
    assert noted(limits={"requestsPerMinute": 5})["limits"] == {
        "requestsPerMinute": 5
    }


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://u:p@h.example/a?token=x#y", "https://h.example/a"),
        ("http://h.example:8080/", "http://h.example:8080/"),
        ("http://h.example:port/", "hidden"),
    ],
)
def test_addresses_lose_what_may_be_secret(
    trail: Trail, address: str, shown: str
) -> None:
    assert after(trail, url=address)["url"] == shown


def test_only_what_differs_is_noted(trail: Trail) -> None:
    before = {"_id": 1, "a": 1, "b": 2, "revision": 3}
    note_changed("Thing", before, {"a": 1, "b": 5, "c": 6, "revision": 4})
    (change,) = trail.changes
    assert change.before == {"b": 2, "c": None}
    assert change.after == {"b": 5, "c": 6}


def test_it_is_bounded(trail: Trail) -> None:
    for number in range(MOST_CHANGES + 5):
        note_deleted("Thing", {"_id": number, "x": "y" * 10_000})
    note_ids("Thing", range(10 * MOST_IDS), 10 * MOST_IDS)
    assert len(trail.changes) == MOST_CHANGES
    assert len(trail.ids) == MOST_IDS
    assert trail.things == MOST_CHANGES + 5 + 10 * MOST_IDS
    assert len(str(trail.changes)) < 1000 * MOST_CHANGES


def test_a_closed_trail_takes_nothing(trail: Trail) -> None:
    trail.is_closed = True
    note_made("Thing", {"_id": 1})
    assert trail.changes == []


def test_without_a_trail_nothing_happens() -> None:
    note_made("Thing", {"_id": 1})
    note_ids("Thing", [1], 1)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=300),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text(max_size=20), inner, max_size=5)
    ),
    max_leaves=30,
)


@given(st.dictionaries(st.text(min_size=1, max_size=20), _VALUES, max_size=6))
def test_any_document_becomes_json(fields: dict[str, Any]) -> None:
    token = current_trail.set(made := Trail())
    try:
        note_made("Model", {**fields, "_id": 1})
        note_made("Prompt", {**fields, "_id": 1})
    finally:
        current_trail.reset(token)
    assert to_json([each.after for each in made.changes])
