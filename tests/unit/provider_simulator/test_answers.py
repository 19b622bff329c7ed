import json
from pathlib import Path
from typing import Any

import pytest

from provider_simulator.answers import answer
from provider_simulator.script import (
    Rule,
    Script,
    read_rules,
    read_script,
)
from provider_simulator.settings import (
    SimulatorError,
    SimulatorSettings,
)
from provider_simulator.values import Answer, Call, Tokens

PLAIN = SimulatorSettings()


def call(text: str = "hello", **fields: Any) -> Call:
    return Call(model="m", of_user=(text,), input_tokens=10, **fields)


def rule(**fields: object) -> Rule:
    return Rule.model_validate(fields)


@pytest.mark.parametrize(
    ("text", "echo"),
    [
        ("hello", "hello"),
        ('{"a": [1]}', {"a": [1]}),
        ("17", 17),
        ("NaN", "NaN"),
        ("", ""),
        ("[" * 1000, "[" * 1000),
    ],
)
def test_an_echo_by_default(text: str, echo: object) -> None:
    said = json.loads(answer(call(text), PLAIN).text)
    assert said == {"result": "ok", "model": "m", "echo": echo}


def test_an_instance_where_there_is_a_schema() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    assert answer(call(schema=schema), PLAIN).text == '{"n":0}'


def test_a_rule_goes_before_both() -> None:
    said = answer(
        call(schema={}),
        PLAIN,
        rule(
            json={"a": 1},
            finish_reason="RECITATION",
            usage={"input_tokens": 5, "output_tokens": 6, "cached_tokens": 4},
        ),
    )
    tokens = Tokens(input=5, output=6, cached=4)
    assert said == Answer('{"a":1}', tokens, "RECITATION")


def test_the_limit_of_tokens_cuts() -> None:
    said = answer(call(max_tokens=2), PLAIN, rule(text="123456789"))
    assert (said.text, said.finish) == ("12345678", "length")
    assert said.tokens.output == 2
    whole = answer(call(max_tokens=3), PLAIN, rule(text="123456789"))
    assert (whole.text, whole.finish) == ("123456789", "stop")


def test_reasoning_uses_the_limit_up() -> None:
    settings = SimulatorSettings(reasoning_tokens=50, cached_share=0.5)
    said = answer(call(max_tokens=40), settings)
    assert (said.text, said.finish) == ("", "length")
    assert said.tokens == Tokens(10, 40, cached=5, reasoning=40)


def test_a_filter_holds_the_text_back() -> None:
    said = answer(call(), PLAIN, filtered=True)
    assert (said.text, said.finish) == ("", "content_filter")
    assert said.tokens.output == 0


def test_the_first_rule_that_fits_answers_as_often_as_it_may() -> None:
    script = Script(
        [
            rule(pattern="^hel+o", text="first", times=1),
            rule(pattern="hello", model="^other$", text="other model"),
            rule(pattern="hello", text="second"),
        ]
    )
    texts = []
    for _ in range(2):
        found = script.take(call())
        assert found is not None
        texts.append(found.text)
    assert texts == ["first", "second"]
    assert script.take(call("goodbye")) is None


@pytest.mark.parametrize(
    "text",
    [
        '[{"pattern": "a", "text": "b"}, {"text": "c"}]',
        '{"pattern": "a", "text": "b"}\n\n{"text": "c"}\n',
    ],
)
def test_a_script_is_an_array_or_lines(text: str, tmp_path: Path) -> None:
    path = tmp_path / "script"
    path.write_text(text)
    assert [each.text for each in read_script(path)] == ["b", "c"]


def test_one_rule_is_a_script() -> None:
    assert read_rules('{"text": "a"}') == [rule(text="a")]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nonsense", "not JSON"),
        ("17", "array of rules"),
        ('[{"pattern": "("}]', "rule 1: pattern: .*regular expression"),
        ('{"text": "a"}\n{"txt": "b"}', "rule 2: txt"),
        ('[{"text": "a", "json": 1}]', "either text or json"),
        ("[1]", "rule 1"),
    ],
)
def test_a_script_is_checked(text: str, reason: str) -> None:
    with pytest.raises(SimulatorError, match=reason):
        read_rules(text)


def test_a_script_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SimulatorError, match="No such file"):
        read_script(tmp_path / "none")
