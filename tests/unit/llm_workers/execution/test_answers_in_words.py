"""Which of the things that models write is the answer, and which is none."""

import contextlib
import json
import random
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_workers.execution.answers import (
    NoJsonError,
    json_texts,
    to_json_text,
)
from tests.support.samples import json_values
from tests.support.timing import is_linear, processor_seconds
from utilities import payload

POSITIVE = {"label": "positive"}


def found(answer: str) -> Any:
    return payload.load(to_json_text(answer))


@pytest.mark.parametrize(
    "answer",
    [
        (
            '<think>\nLike {"label": "negative"}? No.\n</think>\n'
            '{"label": "positive"}'
        ),
        'So {"label": "negative"} or so.\n</think>\n{"label": "positive"}',
        '<thinking>{"label": "x"}</thinking>{"label": "positive"}',
        '<REASONING>{"label": "x"}</REASONING>{"label": "positive"}',
        '<think>a</think>b {"x": 1}</think>{"label": "positive"}',
        '<think>Write `</think>`, then {"x": 1}</think>{"label": "positive"}',
        '[THINK]{"label": "x"}[/THINK]{"label": "positive"}',
        '◁think▷{"label": "x"}◁/think▷{"label": "positive"}',
        (
            '<|START_THINKING|>{"a": 1}<|END_THINKING|><|START_RESPONSE|>'
            '{"label": "positive"}<|END_RESPONSE|>'
        ),
        (
            '<|channel|>analysis<|message|>{"label": "x"}<|end|>'
            "<|start|>assistant<|channel|>final<|message|>"
            '{"label": "positive"}<|return|>'
        ),
        (
            "<|channel|>analysis<|message|>So.<|end|><|start|>assistant"
            "<|channel|>final <|constrain|>json<|message|>"
            '{"label": "positive"}'
        ),
        'analysisWe need {"a": 1}.assistantfinal{"label": "positive"}',
        '{"label": "positive"}\n<think>Was {"x": 1} better?',
        'Yes: {"label": "positive"}<|im_end|>\n<|im_start|>user {"a": 1}',
        'Yes: {"label": "positive"}</s>{"a": 1}',
    ],
)
def test_thoughts_and_other_turns_are_not_the_answer(answer: str) -> None:
    assert found(answer) == POSITIVE


@pytest.mark.parametrize(
    "answer",
    [
        '<think>\n{"label": "positive"}',
        '[THINK]{"label": "positive"}',
        '<|channel|>analysis<|message|>{"label": "positive"}',
        '{"label": "positive"}</think>',
        '<think>{"label": "positive"}</think>',
    ],
)
def test_an_answer_of_thoughts_alone_is_none(answer: str) -> None:
    with pytest.raises(NoJsonError):
        to_json_text(answer)


@pytest.mark.parametrize(
    "value",
    [{"t": "use <think>x</think>"}, {"t": "</think>"}, {"t": "a</s>b"}],
)
@pytest.mark.parametrize("words", ["{}", "Sure: {}", "```json\n{}\n```"])
def test_tags_within_an_answers_strings_stay(
    value: dict[str, str], words: str
) -> None:
    assert found(words.replace("{}", json.dumps(value))) == value


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('Entities:\n[{"n": "A"}, {"n": "B"}]', [{"n": "A"}, {"n": "B"}]),
        ('As in [1], the tags are:\n\n["a", "b"]', ["a", "b"]),
        ('For {text} it is: {"label": "positive"}', POSITIVE),
        ('Input: {"text": "x"}\nOutput: {"label": "positive"}', POSITIVE),
        (
            'Not {"a": 0}.\n```json\n{"label": "positive"}\n```\nnor {"b": 1}',
            POSITIVE,
        ),
        (
            '{"label": "x"}\n\nWait, that is wrong: {"label": "positive"}',
            POSITIVE,
        ),
        ('{"label": "positive"}\n\nText: so\nAnswer: {"label": 1}', POSITIVE),
        ('```python\nx = {"a": 1}\n```\n{"label": "positive"}', POSITIVE),
        ('```javascript\n{"label": "positive"}\n```', POSITIVE),
        ('```json {"label": "positive"} ```', POSITIVE),
        ('```json\n{"c": "```py\\nx```"}\n```', {"c": "```py\nx```"}),
        ('{{"label": "positive"}}', POSITIVE),
        ('\\boxed{{"label": "positive"}}', POSITIVE),
        ('\ufeff{"label": "positive"}', POSITIVE),
        ('label = {"label": "positive"}', POSITIVE),
        ("<think>x</think>42", 42),
        ('```json\n"positive"\n```', "positive"),
        ("The numbers are [1, 2, 3].", [1, 2, 3]),
        ("The list: []", []),
        ('{"a": ' + "9" * 80 + "}", {"a": int("9" * 80)}),
        ('{"a": 1, "a": 2}', {"a": 2}),
    ],
)
def test_the_answer_is_found_among_words(
    answer: str, expected: object
) -> None:
    assert found(answer) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("{'a': 'it\\'s', 'b': \"x\"}", {"a": "it's", "b": "x"}),
        ("{'a': 'it's fine', 'b': 1}", {"a": "it's fine", "b": 1}),
        ('{"a": "so "x" he", "b": 2}', {"a": 'so "x" he', "b": 2}),
        ("{“a”: “b”}", {"a": "b"}),
        ('{"a": [1, 2, {"b": 3', {"a": [1, 2, {"b": 3}]}),
        ('{"a": [1, 2, {"b":', {"a": [1, 2]}),
        ('[{"a": 1}, {"b"', [{"a": 1}]),
        ('{"a": 1,\n "b": [2]\n\nI hope so!', {"a": 1, "b": [2]}),
        ('{"a": [1, 2}', {"a": [1, 2]}),
        ('{"a": "\\alpha \\_"}', {"a": "\\alpha \\_"}),
        ('{"a": 1, /* x */ "b": 2, # y\n}', {"a": 1, "b": 2}),
        ('["a" "b"]', ["a", "b"]),
        ("{a: +1, b: .5}", {"a": 1, "b": 0.5}),
        ("Tags: ['x', 'y']", ["x", "y"]),
    ],
)
def test_a_defect_is_repaired(answer: str, expected: object) -> None:
    assert found(answer) == expected


@pytest.mark.parametrize(
    "answer",
    [
        # code
        "def f(xs):\n    return {k: v for k, v in xs.items()}\n",
        "```python\ndef f():\n    return {'a': 1}\n```",
        "```\ndef f():\n    return {'a': 1}\n```",
        'import json\nd = {"a": 1}\nprint(json.dumps(d))',
        'print({"a": 1})',
        "x = {}",
        "x = {'a': 1}",
        "x = [1, 2, 3]\nfor i in x:\n    print(i)",
        "const f = (x) => { return {a: 1}; }",
        'const c = {name: "x", n: 1};',
        "function f() {}",
        'if (x) { y = {"a": 1}; }',
        'map[string]int{"a": 1}\nfunc main() {\n}',
        "int main() { int a[] = {1, 2}; return 0; }",
        'fn main() { println!("{}", x); }',
        'json!({"a": 1})',
        "interface A { a: string; b: number }",
        "body { color: red; }",
        "a { margin: 0 }",
        "SELECT * FROM t WHERE a = {id}",
        'arr[0], d["a"], List[int]',
        'new Map([["a", 1]]);',
        'f"{x}" and {y!r} and ${z} and {{ name }}',
        # words
        "As stated in [1] and [2, 3], it is fine.",
        "[1] says so",
        "See [link](http://x.example) or [sic].",
        "- [ ] to do\n- [x] done",
        r"It is $\frac{a}{b}$ with \sqrt{2} in [0, 1].",
        "use {} as a placeholder",
        "{1, 2, 3}",
        "[1, 2, ...]",
        # parts of something broken
        '[{"a": 1}, oops, {"b": 2}]',
        '{"a": x, "b": {"c": 1}}',
        '{"a": value}',
    ],
)
def test_code_and_prose_are_no_json(answer: str) -> None:
    with pytest.raises(NoJsonError):
        to_json_text(answer)


def test_an_echo_is_the_answer_only_if_there_is_no_other() -> None:
    answer = '{"label":"positive"}\nfor {"text":"so"}'
    assert next(json_texts(answer, ['{"label":"positive"}'])) == (
        '{"text":"so"}'
    )
    assert to_json_text('{"text":"so"}', ['{"text":"so"}']) == '{"text":"so"}'


def test_values_are_given_best_first_and_a_bounded_number() -> None:
    words = " and ".join(f'{{"n": {n}}}' for n in range(100))
    texts = list(json_texts("So: " + words))
    assert texts[:2] == ['{"n":99}', '{"n":98}']
    assert len(texts) == 8


WORDS = st.text(string.ascii_letters + " ", min_size=1, max_size=8)
PLAIN_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9999, 9999) | WORDS,
    lambda inner: (
        st.lists(inner, min_size=1, max_size=4)
        | st.dictionaries(WORDS, inner, min_size=1, max_size=4)
    ),
    max_leaves=12,
).filter(lambda value: isinstance(value, dict))


def _trailing_comma(text: str) -> str:
    return text[:-1] + "," + text[-1]


def _python(text: str) -> str:
    return repr(json.loads(text))


def _typographic(text: str) -> str:
    parts = text.split('"')
    marks = "”“"
    return parts[0] + "".join(
        marks[number % 2] + part for number, part in enumerate(parts[1:], 1)
    )


def _commented(text: str) -> str:
    return text.replace("{", "{ // why\n", 1)


def _unclosed(text: str) -> str:
    return text[:-1]


@pytest.mark.parametrize(
    "damage",
    [_trailing_comma, _python, _typographic, _commented, _unclosed],
)
@given(value=PLAIN_VALUES, indent=st.sampled_from([None, 2]))
def test_json_with_one_defect_is_repaired_to_the_same_value(
    damage: Any, value: object, indent: int | None
) -> None:
    answer = damage(json.dumps(value, indent=indent))
    assert repr(found(answer)) == repr(value)


@given(json_values)
def test_valid_json_is_found_exactly_behind_thoughts(value: object) -> None:
    answer = f"<think>hm {{'a': 1}}</think>{json.dumps(value)}"
    assert repr(found(answer)) == repr(value)


PIECES = [
    "{", "}", "[", "]", '"', "'", "\\", ",", ":", "a", " ", "\n", "1", "//",
    "/*", "#", "```", "```json\n", '{"a": 1', '["x', "<think>", "</think>",
    "“", "”", "true", "def f():\n", "{'a': 'b", '{"a":"b ', "[/*", '["x',
]  # fmt: skip


def _seconds(text: str) -> float:
    def work() -> None:
        with contextlib.suppress(NoJsonError):
            list(json_texts(text))

    return processor_seconds(work)


@pytest.mark.parametrize("seed", range(40))
def test_work_grows_no_faster_than_the_answer(seed: int) -> None:
    chance = random.Random(seed)
    unit = "".join(chance.choices(PIECES, k=chance.randint(1, 4)))
    text = unit * (80_000 // len(unit))
    # Eight times as much text: linear work takes eight times as long,
    # quadratic work 64 times.
    assert is_linear(
        lambda length: _seconds(text[:length]),
        len(text) // 8,
        len(text),
        most=28,
    )


@pytest.mark.parametrize(
    "answer",
    [
        json.dumps('{"label": "positive"}'),
        json.dumps('```json\n{"label": "positive"}\n```'),
        r"{\"label\": \"positive\"}",
        r"{\n  \"label\": \"positive\"\n}",
        r"Here: {\"label\": \"positive\"}" + "\nBye",
        "{&quot;label&quot;: &quot;positive&quot;}",
    ],
)
def test_json_that_was_escaped_is_unescaped(answer: str) -> None:
    assert found(answer) == POSITIVE


@pytest.mark.parametrize("text", ["use {x} here", "[1] says so", "{x} is a"])
def test_a_string_that_only_begins_like_json_stays_one(text: str) -> None:
    assert found(json.dumps(text)) == text


def test_a_string_that_holds_json_is_offered_as_a_string_too() -> None:
    answer = json.dumps("[1, 2]")
    assert list(json_texts(answer)) == ["[1,2]", '"[1, 2]"']


@pytest.mark.parametrize(
    "answer",
    [
        "```python\n{'label': 'positive'}\n```",
        "```js\n{label: 'positive'}\n```",
        '{"label"：“positive”，}',  # noqa: RUF001 - they are meant
        '{"label": """positive"""}',
        '{"label": "positive", "sure": tr',
        '\u200b{"label": "positive"}\u200b',
        '{"type": "object"}\n\nSo the answer is: {"label": "positive"}',
    ],
)
def test_further_ways_to_write_the_answer_are_known(answer: str) -> None:
    assert found(answer) == POSITIVE


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("<response><result>[1, 2]</result></response>", [1, 2]),
        ('```jsonl\n{"a": 1}\n{"a": 2}\n```', [{"a": 1}, {"a": 2}]),
        ('{"a": 1},\n{"a": 2}', [{"a": 1}, {"a": 2}]),
        ('{"a": """x\n"y""""}', {"a": 'x\n"y"'}),
        (
            '{"code": "def f(x):\n    return {k: 1}\n", "n": 1}',
            {"code": "def f(x):\n    return {k: 1}\n", "n": 1},
        ),
        (
            'Here:\n{"sql": "SELECT a\nFROM t\n"}',
            {"sql": "SELECT a\nFROM t\n"},
        ),
    ],
)
def test_lists_and_code_within_strings_are_read_whole(
    answer: str, expected: object
) -> None:
    assert found(answer) == expected


def test_values_one_a_line_are_offered_as_a_list_too() -> None:
    texts = list(json_texts('{"a": 1}\n{"a": 2}'))
    assert texts == ['{"a":1}', '{"a":2}', '[{"a":1},{"a":2}]']


@pytest.mark.parametrize(
    "answer",
    [
        '[tool.x]\nname = "x"\nversion = ["1", "2"]',
        '[[servers]]\nip = "1"\nroles = ["a", "b"]',
        "SELECT * FROM t WHERE a = '{\"a\": 1}';",
        "INSERT INTO t (data) VALUES ('{\"a\": 1}');",
        "curl -X POST http://x -d '{\"a\": 1}'",
        ">>> f()\n{'a': 1}",
        'assert f(x) == {"a": 1}',
        'requests.post(url, json={"a": 1})',
        'r = c.create(model="x", messages=[{"role": "user"}])',
        "<div style={{color: 'red'}}>{items.map(i => <li>{i}</li>)}</div>",
        'FROM x\nCMD ["python", "app.py"]',
        'resource "a" "b" {\n  name = "x"\n  tags = ["a", "b"]\n}',
    ],
)
def test_code_of_other_languages_is_no_json(answer: str) -> None:
    with pytest.raises(NoJsonError):
        to_json_text(answer)
