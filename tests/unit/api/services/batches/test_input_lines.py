import json
from collections.abc import AsyncIterator

from hypothesis import given, settings
from hypothesis import strategies as st

from api.services.batches.input_lines import (
    LineChecker,
    RawLine,
    Request,
    ranges,
    raw_lines,
    read_request,
)
from tests.support.examples import examples

CHAT = "/v1/chat/completions"


async def pieces_of(content: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def lines_of(content: bytes, size: int, longest: int) -> list[RawLine]:
    pieces = pieces_of(content, size)
    return [line async for some in raw_lines(pieces, longest) for line in some]


@settings(max_examples=examples(200))
@given(
    st.lists(st.sampled_from([b"", b" ", b"ab", b"{}", b"x" * 9, b"\r"])),
    st.integers(1, 7),
    st.sampled_from([b"", b"\n"]),
)
async def test_lines_have_their_numbers_however_they_are_stored(
    rows: list[bytes], size: int, end: bytes
) -> None:
    content = b"\n".join(rows) + end
    found = await lines_of(content, size, 8)
    expected = [
        RawLine(number, None if len(row) > 8 else row.strip())
        for number, row in enumerate(rows, 1)
        if row.strip()
    ]
    assert found == expected


@settings(max_examples=examples(200))
@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_no_line_is_a_defect(content: bytes) -> None:
    found = read_request(RawLine(1, content), CHAT)
    assert not isinstance(found, Request)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=5,
)


@settings(max_examples=examples(200))
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "custom_id": st.just("a") | JSON,
            "method": st.just("POST") | JSON,
            "url": st.just(CHAT) | JSON,
            "body": st.just({"model": "m"}) | JSON,
        },
    )
)
def test_every_row_is_a_request_or_a_mistake(row: dict[str, object]) -> None:
    line = RawLine(3, json.dumps(row).encode())
    checker = LineChecker(CHAT)
    checker.check([line])
    checker.close(lambda name: name == "m")
    told = checker.mistakes.told()
    assert all(each["line"] == 3 and each["message"] for each in told)
    is_right = isinstance(read_request(line, CHAT), Request)
    assert is_right or told


@given(st.lists(st.integers(1, 60)))
def test_ranges_say_all_numbers(numbers: list[int]) -> None:
    found: list[int] = []
    for part in filter(None, ranges(numbers).split(", ")):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    assert found == sorted(set(numbers))
