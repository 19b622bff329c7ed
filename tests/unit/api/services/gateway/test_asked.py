from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json, to_json

from api.core.dialects import OPENAI
from api.core.errors import ParameterError
from api.services.gateway.asked import Asked, model_of, read_body, stream_of
from llm_sdks.forwarding import Interface

texts = st.text(max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=20,
)


def asked(body: dict[str, Any]) -> Asked:
    return Asked(Interface.CHAT, OPENAI, "m", body, to_json(body))


@given(st.dictionaries(texts, values))
def test_only_the_name_of_the_model_changes(body: dict[str, Any]) -> None:
    read = read_body(bytearray(to_json(body)))
    assert read == body
    sent = from_json(asked(read).sent("theirs"))
    assert sent == {**body, "model": "theirs"}


def test_usage_is_asked_for_beside_other_options() -> None:
    one = asked({"stream_options": {"include_obfuscation": False}})
    assert not one.wants_usage()
    assert from_json(one.sent("x", asks_usage=True))["stream_options"] == {
        "include_obfuscation": False,
        "include_usage": True,
    }
    assert asked({"stream_options": {"include_usage": True}}).wants_usage()


@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b"3", b"{", b"\xff", b'{"a": NaN}', b'{"a": "\\ud800"}'],
)
def test_what_is_no_object_is_refused(raw: bytes) -> None:
    with pytest.raises(ParameterError):
        read_body(bytearray(raw))


@pytest.mark.parametrize("model", [None, "", 3, [], {}])
def test_a_model_must_be_named(model: object) -> None:
    with pytest.raises(ParameterError) as caught:
        model_of({"model": model})
    assert caught.value.param == "model"
    with pytest.raises(ParameterError):
        stream_of({"stream": "yes"})


@given(st.dictionaries(texts, values))
def test_a_size_is_no_less_than_its_texts(body: dict[str, Any]) -> None:
    def count(value: Any) -> int:
        if isinstance(value, str):
            return len(value.encode())
        if isinstance(value, list):
            return sum(map(count, value))
        if isinstance(value, dict):
            inner = sum(map(count, value.values()))
            return inner + sum(map(count, value))
        return 0

    assert asked(body).size.input_bytes >= count(body)


def test_a_picture_counts_as_one() -> None:
    data = "A" * 1_000_000
    pictures: list[dict[str, Any]] = [
        {"image_url": {"url": f"data:image/png;base64,{data}"}},
        {"type": "input_image", "image_url": f"data:image/png;base64,{data}"},
        {"source": {"media_type": "image/png", "data": data}},
    ]
    for each in pictures:
        assert 5_000 < asked(each).size.input_bytes < 10_000
    # Everything else is counted whole.
    others: list[dict[str, Any]] = [
        {"text": f"data:image/png;base64,{data}"},
        {"source": {"media_type": "application/pdf", "data": data}},
        {"url": data},
    ]
    for each in others:
        assert asked(each).size.input_bytes >= 1_000_000


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({}, None),
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 7, "max_tokens": 5}, 7),
        ({"max_output_tokens": 9, "n": 3}, 27),
        ({"max_tokens": "many"}, None),
        ({"max_tokens": True}, None),
        ({"max_tokens": -3}, None),
    ],
)
def test_the_output_is_as_much_as_is_asked_for(
    body: dict[str, Any], tokens: int | None
) -> None:
    assert asked(body).size.output_tokens == tokens


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.5, 0.5), (1, 1.0), (None, None), ("hot", None), (1e300, None)],
)
def test_a_temperature_is_a_number(value: object, shown: float | None) -> None:
    assert asked({"temperature": value}).temperature == shown
