import json
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from llm_workers.execution.answers import NoJsonError, to_json_text
from tests.support.examples import examples
from tests.support.samples import json_objects, nested
from tests.support.timing import is_within, processor_seconds
from utilities import payload
from utilities.payload import MAX_DEPTH

# What models write around their JSON: no braces, and no code fences.
prose = st.text(
    st.characters(exclude_characters="{}`", exclude_categories=["Cs"])
)


def found(answer: str) -> Any:
    return payload.load(to_json_text(answer))


@pytest.mark.parametrize(
    "answer",
    ['{"a":1}', '  \n{"a": 1}\n\n', '{\n  "a": 1\n}', '\t{"a":1 }'],
)
def test_plain_json_is_taken_and_made_compact(answer: str) -> None:
    assert to_json_text(answer) == '{"a":1}'


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("[1, 2]", "[1,2]"),
        ('"yes"', '"yes"'),
        ("12.50", "12.5"),
        ("true", "true"),
        ("null", "null"),
        ("{}", "{}"),
        ("[]", "[]"),
    ],
)
def test_an_answer_that_is_json_need_not_be_an_object(
    answer: str, text: str
) -> None:
    assert to_json_text(answer) == text


@pytest.mark.parametrize(
    "answer",
    [
        '```json\n{"a": 1}\n```',
        '```JSON\n{"a": 1}\n```',
        '```\n{"a": 1}\n```',
        '```json  \n{"a": 1}```',
        'Here it is:\n```json\n{"a": 1}\n```\nIs that {all}?',
        'So:\n```python\nx = {}\n```\nis\n```json\n{"a": 1}\n```',
        'So:\n```c++\nint f() {}\n```\nis\n```json\n{"a": 1}\n```',
        '```json title="x.json"\n{"a": 1}\n```',
        '```json\n{"a": 1}',
        '```\nNaN\n```\nor rather {"a": 1}',
    ],
)
def test_a_fenced_block_is_found(answer: str) -> None:
    assert to_json_text(answer) == '{"a":1}'


@pytest.mark.parametrize(
    "end",
    [
        "\n",
        "\r\n",
    ],
)
def test_a_fenced_array_is_found_whole(end: str) -> None:
    lines = ["The list:", "```json", '[{"a": 1}, {"b": 2}]', "```"]
    assert found(end.join(lines)) == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('Sure! {"a": 1} I hope that helps.', {"a": 1}),
        ('The answer (see [1]) is {"a": [2]}.', {"a": [2]}),
        ('{"a": 1}.', {"a": 1}),
        ('Answer: {"a": "with } brace"} ok', {"a": "with } brace"}),
        ("The numbers are [1, 2, 3], in order", [1, 2, 3]),
        ("Nothing: {}", {}),
        ("set {x} then", None),
    ],
)
def test_words_around_are_left_out(answer: str, expected: object) -> None:
    if expected is None:
        with pytest.raises(NoJsonError):
            to_json_text(answer)
    else:
        assert found(answer) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("{'a': 1, 'b': 'x'}", {"a": 1, "b": "x"}),
        ('{"a": 1, "b": [1, 2,],}', {"a": 1, "b": [1, 2]}),
        ('{a: 1, "b": True, "c": None}', {"a": 1, "b": True, "c": None}),
        ('{"a": 1 "b": 2}', {"a": 1, "b": 2}),
        ('{"a": {"b": "cut off he', {"a": {"b": "cut off he"}}),
        ('{"a": "line\nbreak"}', {"a": "line\nbreak"}),
        ('{"a": 1, // why\n "b": 2}', {"a": 1, "b": 2}),
        ("Well: {'a': 1} there", {"a": 1}),
        ("```json\n{'a': 1,}\n```", {"a": 1}),
    ],
)
def test_what_is_nearly_json_is_repaired(
    answer: str, expected: object
) -> None:
    assert found(answer) == expected


@pytest.mark.parametrize(
    "answer",
    [
        '{"a": 1}\n{"a": 2}',
        '{"a": 1} {"a": 2} {"a": 3}',
        '{"a": 1}{"a": 2}',
        "{'a': 1}\n{'b': 2}\n{'c': 3}",
        "{'a': 1}\n{'a': 2}\n{'a': 3}",
        '{"a": 1}\n\nText: it was fine\nAnswer: {"a": 2}\n\nText: so',
        '{"a": 1}\n\nText: it was "fine" {\nAnswer: {"a"',
        ' {"a": 1}<end_of_turn>\n<start_of_turn>user\n[1]',
    ],
)
def test_an_answer_that_begins_with_its_object_ends_there(answer: str) -> None:
    assert to_json_text(answer) == '{"a":1}'


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "  \n ",
        "I am sorry, I cannot do that.",
        "positive",
        "}",
        "]",
        "a } b ] c",
        "{",
        "[",
        "use { carefully",
        "``````",
        "```json\n```",
        "\x00",
    ],
)
def test_an_answer_without_json_is_refused(answer: str) -> None:
    with pytest.raises(NoJsonError):
        to_json_text(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "NaN",
        '{"a": NaN}',
        'Here: {"a": [Infinity]}',
        '{"a": -Infinity}',
        '{"a": 1e999}',
        "```json\n[NaN]\n```",
    ],
)
def test_numbers_that_json_does_not_have_are_refused(answer: str) -> None:
    with pytest.raises(NoJsonError):
        to_json_text(answer)


@pytest.mark.parametrize("answer", [r'{"a": "\ud800"}', r'x ["\udfff"] y'])
def test_an_escaped_half_character_is_refused(answer: str) -> None:
    with pytest.raises(NoJsonError):
        to_json_text(answer)


@pytest.mark.parametrize("answer", ["\ud800", '{"a": "\ud800"}', "x {\udfff}"])
def test_a_half_character_is_refused(answer: str) -> None:
    with pytest.raises(NoJsonError):
        to_json_text(answer)


def test_nesting_is_taken_up_to_the_stores_limit() -> None:
    text = json.dumps(nested(MAX_DEPTH), separators=(",", ":"))
    assert to_json_text(f"Here: {text}!") == text


@pytest.mark.parametrize("around", ["{}", "So: {}", "```json\n{}\n```"])
@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 190])
def test_deeper_nesting_is_refused(around: str, depth: int) -> None:
    text = json.dumps(nested(depth))
    with pytest.raises(NoJsonError, match="levels deep"):
        to_json_text(around.replace("{}", text))


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param("[" * 500, id="opened and never closed"),
        pytest.param('{"a":' * 500, id="objects never closed"),
        pytest.param("[" * 3000 + "]" * 3000, id="whole"),
        pytest.param("So: " + "{" * 1000, id="braces"),
    ],
)
def test_very_deep_nesting_is_refused(answer: str) -> None:
    with pytest.raises(NoJsonError):
        to_json_text(answer)


def test_a_model_that_wrote_empty_lines_for_ever_costs_no_time() -> None:
    answer = "```json" + "\n" * 50_000 + "x"

    def work() -> None:
        with pytest.raises(NoJsonError):
            to_json_text(answer)

    # Linear work takes a few milliseconds, quadratic work a quarter of a
    # minute.
    assert is_within(1.0, lambda: processor_seconds(work))


@given(json_objects.filter(bool), prose, prose, st.sampled_from([None, 2]))
@example({"a": "```\n1\n```"}, "Sure:", "done", 1)
@example({"a": 1}, "[1] says", "[2] too", None)
def test_any_object_among_words_is_found(
    value: dict[str, Any], before: str, after: str, indent: int | None
) -> None:
    # Otherwise it is the item of a list whose end is missing.
    assume(before.count("[") <= before.count("]"))
    answer = before + json.dumps(value, indent=indent) + after
    assert repr(found(answer)) == repr(value)


@given(
    st.text(st.characters())
    | st.text('{}[]":,`\\ntruefalsjo0123456789.-+eE/*\n ')
)
@settings(max_examples=examples(300))
def test_nothing_but_no_json_is_ever_raised(answer: str) -> None:
    try:
        text = to_json_text(answer)
    except NoJsonError:
        return
    assert payload.dump(payload.load(text)) == text
