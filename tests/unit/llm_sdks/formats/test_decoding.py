import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_sdks.formats.decoding import (
    TextJoiner,
    read_json,
    start_of,
    storable,
)


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b'{"a": 1}', {"a": 1}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        ('\ufeff{"a": 1}', {"a": 1}),
        (b' \r\n\t{"a": 1}\n\n', {"a": 1}),
        (b'{"a": "\xff\xe9"}', {"a": "\ufffd\ufffd"}),
        (b'{"a": "x\ny\x01"}', {"a": "x\ny\x01"}),
        (rb'{"a": "\ud83d"}', {"a": "\ud83d"}),
        (b'{"a": NaN}', None),
    ],
)
def test_json_is_read_as_far_as_it_can_be(
    content: bytes | str, value: object
) -> None:
    read = read_json(content)
    assert read == value or value is None


@pytest.mark.parametrize(
    "content", [b"", b"{", b"<html>", b"[" * 100_000, b"data: {}", b"\x00"]
)
def test_what_is_not_json_is_a_value_error(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_json(content)


@given(st.text(), st.lists(st.integers(0, 200)))
def test_text_in_pieces_is_the_same_text(text: str, cuts: list[int]) -> None:
    # As JavaScript's strings are cut: between any two units of 16 bits.
    units = text.encode("utf-16-le", "surrogatepass")
    ends = [*sorted(2 * cut for cut in cuts), len(units)]
    joiner = TextJoiner()
    joined = "".join(
        joiner.add(units[start:end].decode("utf-16-le", "surrogatepass"))
        for start, end in zip([0, *ends], ends, strict=False)
        if start < end
    )
    joined += joiner.end()
    assert joined == storable(text)
    assert joined.encode() or not text


def test_a_half_that_stays_alone_is_replaced() -> None:
    joiner = TextJoiner()
    assert joiner.add("a\ud83d") == "a"
    assert joiner.add("b") == "\ufffdb"
    assert joiner.add("\ud83d") == ""
    assert joiner.end() == "\ufffd"
    assert joiner.end() == ""


def test_the_start_of_a_content_can_be_stored() -> None:
    assert start_of(b"\xef\xbb\xbfa\x00\xffb\nc", 100) == "a\ufffdb\nc"
    assert start_of("a\ud83d" * 5, 3) == "a\ufffda"


@pytest.mark.parametrize(
    ("charset", "named"),
    [
        ("latin-1", "application/json; charset=iso-8859-1"),
        ("cp1251", 'application/json;Charset="windows-1251"'),
        ("utf-8", "application/json; charset=iso-8859-1"),
        ("utf-8", "application/json; charset=no-such"),
        ("utf-16", "application/json"),
        ("utf-16-le", ""),
        ("utf-16-be", ""),
    ],
)
def test_other_charsets_are_read(charset: str, named: str) -> None:
    word = "да" if charset == "cp1251" else "é"
    content = f'{{"a": "{word}"}}'.encode(charset)
    assert read_json(content, {"content-type": named}) == {"a": word}


def test_a_number_of_thousands_of_digits_does_not_hide_the_rest() -> None:
    content = f'{{"n": {"9" * 5000}, "a": 1}}'.encode()
    assert read_json(content)["a"] == 1
