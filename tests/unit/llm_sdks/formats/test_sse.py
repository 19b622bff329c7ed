import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_sdks.formats.sse import EventReader, NotAnEventError

EVENTS = (
    b"\xef\xbb\xbf: sign of life\n\n"
    b'event: x\r\nid: 7\r\ndata: {"n": 1}\r\n\r\n'
    b"data: ping\n\n"
    b'data:{"text": "Hi \\ud83d"}\n\ndata: {"text": "\\ude00 \xc3\xa9"}\n\n'
    b'data: {"n":\ndata: 2}\n\n'
    b'data: {"n": 3}\r\rretry: 5\n'
    b'data: {"n": 4}\n\ndata: [DONE]\n\ndata: {"n": 5}\n\n'
)


def read(*chunks: bytes) -> list[Any]:
    reader = EventReader()
    values = [value for chunk in chunks for value in reader.feed(chunk)]
    return [*values, *reader.close()]


def test_the_json_of_each_event_is_read() -> None:
    assert read(EVENTS) == [
        {"n": 1},
        {"text": "Hi \ud83d"},
        {"text": "\ude00 é"},
        {"n": 2},
        {"n": 3},
        {"n": 4},
    ]


@given(st.lists(st.integers(0, len(EVENTS))))
def test_it_does_not_matter_where_the_bytes_are_split(cuts: list[int]) -> None:
    ends = [*sorted(cuts), len(EVENTS)]
    chunks = [
        EVENTS[start:end] for start, end in zip([0, *ends], ends, strict=False)
    ]
    assert read(*chunks) == read(EVENTS)


def test_openais_end_mark_is_told() -> None:
    reader = EventReader()
    assert not list(reader.feed(b'data: {"n": 1}\n'))
    assert not reader.is_done
    assert list(reader.feed(b"\ndata: [DONE]\n\n")) == [{"n": 1}]
    assert reader.is_done


@pytest.mark.parametrize(
    ("body", "values"),
    [
        (b'{"n": 1}', [{"n": 1}]),
        (b'\xef\xbb\xbf {"n": 1}\n', [{"n": 1}]),
        (
            json.dumps({"n": [{"m": 1}]}, indent=1).encode(),
            [{"n": [{"m": 1}]}],
        ),
        (b'{"n": 1}\n{"n": 2}\n', [{"n": 1}, {"n": 2}]),
        (b'[{"n": 1},\n\n{"n": 2}]', [{"n": 1}, {"n": 2}]),
        (b'data: {"n": 1}', [{"n": 1}]),
        (b'data: {"n": 1}\n\n{\n"error": 2}\n', [{"n": 1}, {"error": 2}]),
        (b'data: {"n": 1}\n\nbye\n', [{"n": 1}]),
        (b'data: {"n": "\xff"}\n\n', [{"n": "\ufffd"}]),
        (b"", []),
        (b"\n\n: nothing\n", []),
    ],
)
def test_what_comes_in_place_of_events_is_read(
    body: bytes, values: list[Any]
) -> None:
    assert read(body) == values


@pytest.mark.parametrize(
    "body", [b"<html>Welcome</html>", b"data: {broken\n\n", b"[1, 2", b"hello"]
)
def test_what_is_not_json_is_told_with_what_it_is(body: bytes) -> None:
    with pytest.raises(NotAnEventError) as failed:
        read(body)
    assert failed.value.content.strip() in body


@given(st.binary(max_size=300), st.integers(0, 300))
def test_any_bytes_are_events_or_told(body: bytes, cut: int) -> None:
    outcomes = []
    for chunks in ((body,), (body[:cut], body[cut:])):
        try:
            outcomes.append(repr(read(*chunks)))
        except NotAnEventError as error:
            outcomes.append(repr(error.content))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize(
    "event",
    [
        b"event: error\ndata: it died\n\n",
        b'event: error\ndata: "it died"\n\n',
        b'event: error\ndata: {"error": "it died"}\n\n',
        b"event:Error\r\ndata:it died\r\n\r\n",
        b"error: it died\n\n",
        b'error: "it died"',
    ],
)
def test_an_event_that_is_named_an_error_is_one(event: bytes) -> None:
    assert read(b'data: {"n": 1}\n\n' + event) == [
        {"n": 1},
        {"error": "it died"},
    ]


def test_the_name_of_an_event_does_not_last() -> None:
    events = b'event: error\ndata: {"code": 5}\n\ndata: {"n": 1}\n\n'
    assert read(events) == [{"error": {"code": 5}}, {"n": 1}]


def test_empty_lines_between_events_may_be_left_out() -> None:
    reader = EventReader()
    lines = b'data: {"n": 1}\ndata: {"n": 2}\ndata: [DONE]\n'
    values = [*reader.feed(lines), *reader.close()]
    assert values == [{"n": 1}, {"n": 2}]
    assert reader.is_done
