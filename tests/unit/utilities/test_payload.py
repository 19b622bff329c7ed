import contextlib
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic_core import from_json

from tests.support.samples import HOSTILE_KEYS, json_values, nested
from tests.support.timing import is_linear, is_within, processor_seconds
from utilities.payload import (
    MAX_DEPTH,
    PayloadError,
    dump,
    load,
    printable,
)

HALF_CHARACTERS = ("\ud800", "\udfff", "a\udc00b", "\udc00\ud800")


def nested_objects(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = {"a": value}
    return value


@given(json_values)
@example(dict.fromkeys(HOSTILE_KEYS, 1))
@example([10**80, -(10**4299), 10**4299])
@example([-0.0, 5e-324, 1.7976931348623157e308, 1e22, 1.0, 1, True])
def test_every_json_value_comes_back_as_it_was(value: object) -> None:
    # As `repr`, to tell 1 from 1.0 and True, and 0.0 from -0.0.
    assert repr(load(dump(value))) == repr(value)


@given(json_values)
def test_the_text_is_json_to_another_parser_too(value: object) -> None:
    assert json.loads(dump(value)) == value


@pytest.mark.parametrize("digits", [4301, 5000, 50_000])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_number_that_could_not_be_read_again_is_refused(
    digits: int, sign: int
) -> None:
    with pytest.raises(PayloadError, match="too many digits"):
        dump({"a": [sign * 10 ** (digits - 1)]})


def test_many_digits_are_welcome_inside_strings() -> None:
    value = {"a": "9" * 10_000}
    assert load(dump(value)) == value


@given(st.text(st.characters()))
def test_printable_text_keeps_all_that_can_be_kept(text: str) -> None:
    kept = printable(text)
    assert len(kept) == len(text)
    assert load(dump(kept)) == kept
    for before, after in zip(text, kept, strict=True):
        half = "\ud800" <= before <= "\udfff"
        assert after == ("?" if half else before)


def test_a_caller_may_allow_more_levels() -> None:
    assert dump(nested(7), max_depth=7) == "[" * 7 + "0" + "]" * 7
    with pytest.raises(PayloadError, match="more than 7 levels"):
        dump(nested(8), max_depth=7)


def test_the_text_is_compact_and_keeps_letters_as_they_are() -> None:
    assert dump({"a": [1, None, "é\n"], "$b": {}}) == (
        '{"a":[1,null,"é\\n"],"$b":{}}'
    )


@pytest.mark.parametrize("make", [nested, nested_objects])
def test_nesting_is_taken_up_to_the_limit(make: Any) -> None:
    deepest = make(MAX_DEPTH)
    assert load(dump(deepest)) == deepest


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 1000, 100_000])
@pytest.mark.parametrize("make", [nested, nested_objects])
def test_deeper_nesting_is_refused(make: Any, depth: int) -> None:
    with pytest.raises(PayloadError, match="more than 100 levels deep"):
        dump(make(depth))


def test_depth_is_counted_through_lists_and_objects_alike() -> None:
    value = nested(MAX_DEPTH // 2, nested_objects(MAX_DEPTH // 2))
    assert load(dump(value)) == value
    with pytest.raises(PayloadError):
        dump({"one too many": value})


def test_the_deepest_branch_counts_wherever_it_stands() -> None:
    wide = [{"a": [number]} for number in range(1000)]
    assert load(dump(wide)) == wide
    with pytest.raises(PayloadError):
        dump([*wide, nested(MAX_DEPTH)])


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    "place",
    [
        lambda number: number,
        lambda number: [1, number],
        lambda number: {"a": {"b": number}},
        lambda number: ["NaN", "Infinity", number],
    ],
)
def test_what_is_no_number_is_refused(number: float, place: Any) -> None:
    with pytest.raises(PayloadError, match="NaN and Infinity"):
        dump(place(number))


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", '"NaN,'])
def test_the_words_are_welcome_inside_strings(word: str) -> None:
    value = {word: [word, f"a {word} b"]}
    assert from_json(dump(value), allow_inf_nan=False) == value


@pytest.mark.parametrize("text", HALF_CHARACTERS)
@pytest.mark.parametrize(
    "place",
    [lambda text: text, lambda text: [text], lambda text: {text: 1}],
)
def test_half_characters_are_refused(text: str, place: Any) -> None:
    with pytest.raises(PayloadError, match="not valid JSON") as refused:
        dump(place(text))
    # The message is written to a log and to a client.
    assert str(refused.value).encode()


def test_whole_surrogate_pairs_become_one_character() -> None:
    assert load(r'"\ud83d\ude00"') == "😀"
    assert dump("😀") == '"😀"'


@pytest.mark.parametrize("value", [object(), {"a": {"b": print}}, b"\xff"])
def test_what_is_not_json_is_refused(value: object) -> None:
    with pytest.raises(PayloadError, match="not valid JSON"):
        dump(value)


def test_a_refusal_is_a_value_error_for_the_schema_to_report() -> None:
    assert issubclass(PayloadError, ValueError)


@pytest.mark.parametrize("text", ["", "{", '{"a":}', "[1,]", "nope", "1 2"])
def test_damaged_text_is_not_read(text: str) -> None:
    with pytest.raises(ValueError, match="column"):
        load(text)


def _seconds(value: object) -> float:
    def work() -> None:
        with contextlib.suppress(PayloadError):
            load(dump(value))

    return processor_seconds(work)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda n: ["9" * 4299] * n, id="digits, just too few"),
        pytest.param(lambda n: ["9" * 4300] * n, id="digits"),
        pytest.param(lambda n: ["9" * 4299 + "x"] * n, id="digits and more"),
        pytest.param(lambda n: "9" * 4000 * n, id="one long string"),
        pytest.param(lambda n: ["NaN Infinity" * 300] * n, id="words"),
        pytest.param(lambda n: [10**4000] * n, id="long numbers"),
        pytest.param(lambda n: [[0] * 1000] * n, id="many values"),
        pytest.param(lambda n: ['\\"' * 2000] * n, id="escapes"),
        pytest.param(lambda n: ["\ud800" * 4000] * n, id="half characters"),
    ],
)
def test_work_grows_no_faster_than_the_value(make: Any) -> None:
    # Eight times as much: quadratic work would take 64 times as long.
    assert is_linear(lambda n: _seconds(make(n)), 20, 160, most=28)


def test_many_digits_in_strings_take_no_time() -> None:
    # Linear work takes some milliseconds.
    assert is_within(1.0, lambda: _seconds(["9" * 4299] * 1000))
