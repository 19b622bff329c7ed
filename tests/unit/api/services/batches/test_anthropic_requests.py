import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.core.errors import MetasyncError, ParameterError, TooLargeError
from api.services.batches.anthropic_requests import (
    RequestReader,
    RequestScanner,
)
from api.services.batches.input_lines import RawLine, Request, read_request
from tests.support.examples import examples

TEXTS = st.text(st.sampled_from('ab"\\{}[],: \n\u00e9\U0001f600'), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3)
    ),
    max_leaves=8,
)
ITEMS = st.lists(st.dictionaries(TEXTS, VALUES, max_size=3), max_size=4)
OTHERS = st.dictionaries(
    st.sampled_from(["a", "metadata", 'x"requests', "list"]),
    VALUES,
    max_size=2,
)


def pieces_of(content: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(content), *(c % (len(content) + 1) for c in cuts)})
    return [content[start:end] for start, end in pairwise(places)]


def scanned(pieces: list[bytes]) -> list[bytes]:
    scanner = RequestScanner()
    found = [item for piece in pieces for item in scanner.feed(piece)]
    scanner.close()
    return found


@settings(max_examples=examples(400))
@given(
    ITEMS,
    OTHERS,
    st.sampled_from(["first", "last"]),
    st.sampled_from([None, 1]),
    st.lists(st.integers(0, 500), max_size=12),
)
def test_items_are_found_wherever_the_body_is_cut(
    items: list[object],
    others: dict[str, object],
    place: str,
    indent: int | None,
    cuts: list[int],
) -> None:
    own = {"requests": items}
    body = {**own, **others} if place == "first" else {**others, **own}
    text = json.dumps(body, indent=indent, ensure_ascii=not indent)
    found = scanned(pieces_of(text.encode(), cuts))
    assert [json.loads(item) for item in found] == items


@settings(max_examples=examples(400))
@given(
    st.lists(st.sampled_from([*'{}[]",: \\1a', '"requests":[', '{"'])).map(
        "".join
    ),
    st.lists(st.integers(0, 50), max_size=4),
)
def test_nonsense_is_refused_and_never_a_defect(
    text: str, cuts: list[int]
) -> None:
    reader = RequestReader()
    try:
        for item in scanned(pieces_of(text.encode(), cuts)):
            reader.line(item)
    except MetasyncError:
        return
    assert isinstance(json.loads(text), dict) or not reader.count


def test_requests_become_lines_as_openai_has_them() -> None:
    params = {"model": "m", "max_tokens": 5, "messages": []}
    item = json.dumps({"custom_id": "a-1", "params": params}).encode()
    line = RequestReader().line(item)
    found = read_request(RawLine(1, line.strip()), "/v1/messages")
    assert isinstance(found, Request)
    assert (found.custom_id, found.model) == ("a-1", "m")
    assert json.loads(found.body) == params


@pytest.mark.parametrize(
    "custom_id",
    [
        pytest.param("", id="empty"),
        pytest.param("a" * 65, id="long"),
        pytest.param("\u00e9", id="not ascii"),
        pytest.param("a\n", id="line feed"),
        pytest.param(7, id="number"),
    ],
)
def test_wrong_ids_are_refused(custom_id: object) -> None:
    item = {"custom_id": custom_id, "params": {"model": "m"}}
    with pytest.raises(ParameterError) as refused:
        RequestReader().line(json.dumps(item).encode())
    assert refused.value.param == "requests.0.custom_id"


def test_a_model_has_a_name_that_can_be_stored() -> None:
    item = {"custom_id": "a", "params": {"model": "m\x00"}}
    with pytest.raises(ParameterError) as refused:
        RequestReader().line(json.dumps(item).encode())
    assert refused.value.param == "requests.0.params.model"


@pytest.mark.parametrize(
    "filler",
    [b'"' * 1_000_000, b'"a":' + b"[" * 1_000_000, b" " * 1_000_000],
    ids=["quotes", "lists", "blanks"],
)
def test_a_body_of_something_else_is_not_read_to_its_end(
    filler: bytes,
) -> None:
    with pytest.raises(TooLargeError, match="beside its requests"):
        scanned([b"{", filler])
