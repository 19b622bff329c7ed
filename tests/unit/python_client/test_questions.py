import enum
from typing import Any, Literal

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from metasync import ConfigurationError
from metasync.options import MapOptions, read_options
from metasync.questions import Form, Question
from tests.support.examples import examples


class Mood(BaseModel):
    happy: bool


class Tree(BaseModel):
    children: list["Tree"] = []


class Colour(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("schema", "answer", "value"),
    [
        (None, {"text": "yes"}, "yes"),
        (bool, {"answer": True}, True),
        (list[Mood], {"answer": [{"happy": True}]}, [Mood(happy=True)]),
        (Literal["a", "b"], {"answer": "b"}, "b"),
        (Mood | int, {"answer": 3}, 3),
        (Colour, {"answer": "red"}, Colour.RED),
        (Mood, {"happy": True}, Mood(happy=True)),
        (Tree, {"children": [{}]}, Tree(children=[Tree()])),
        (dict[str, int], {"a": 1}, {"a": 1}),
        (Any, [1, 2], [1, 2]),
        ({"type": "object"}, {"a": 1}, {"a": 1}),
        # Of a model that has paid no attention to the schema.
        (bool, True, True),
    ],
    ids=str,
)
def test_answers_of_all_forms_are_read(
    schema: Any, answer: Any, value: Any
) -> None:
    form: Form[Any] = Form(schema)
    assert form.read(answer) == value
    if isinstance(answer, dict) and form.json_schema:
        jsonschema_rs.validate(form.json_schema, answer)
        # What providers ask for at the root.
        meant = form.json_schema
        assert meant.get("type") == "object" or "$ref" in meant


def test_an_answer_of_another_form_is_none() -> None:
    form: Form[list[Mood]] = Form(list[Mood])
    wrongs: list[Any] = [{"answer": 3}, 3, None, {"other": []}]
    for wrong in wrongs:
        with pytest.raises(ValidationError):
            form.read(wrong)
    with pytest.raises(ConfigurationError, match="schema must be"):
        Form(object())


def question(prompt: str = "Hi {{ name }}", **options: Any) -> Question[Any]:
    return Question(prompt, "model", Form(None), MapOptions(**options))


def key(asked: Question[Any], row: Any, number: int = 1) -> str:
    common = asked.jobs_fields("prompt-id")
    return asked.key(asked.job(common, row), number)


ROWS = st.dictionaries(
    st.sampled_from(["a", "b", "c"]),
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
)


@settings(max_examples=examples(200))
@given(ROWS, ROWS)
def test_two_rows_have_one_key_only_if_they_are_the_same(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    same = repr(sorted(one.items())) == repr(sorted(other.items()))
    assert (key(question(), one) == key(question(), other)) == same


def test_everything_that_makes_the_answer_makes_the_key() -> None:
    row = {"name": "Ada", "n": 1}
    keys = [
        key(question(), row),
        key(question(temperature=0.5), row),
        key(question(sample=1), row),
        key(question(system="Be brief."), row),
        key(question("Ho {{ name }}", system="Be brief."), row),
        key(question(job={"sampling": {"seed": 1}}), row),
        key(question(operation="other"), row),
        key(question(columns=["name"]), row),
        key(question("No column."), row),
        key(question(), row, 2),
        key(Question("Hi {{ name }}", "other", Form(None)), row),
        key(Question("Hi {{ name }}", "model", Form(bool)), row),
    ]
    assert len(set(keys)) == len(keys)
    # Control: what does not, does not. Nor is it longer than keys may be.
    assert key(question(in_flight=5, ordered=True), row) == keys[0]
    other = {"name": "Ada", "n": 2}
    assert key(question(columns=["name"]), other) == keys[7]
    assert max(map(len, keys)) <= 256


def test_this_versions_keys_are_found_by_later_ones() -> None:
    # If this fails, answers of earlier programs are paid for again: give
    # _KEY_VERSION another number, and say so in the changelog.
    assert key(question(), {"name": "Ada", "n": 1}) == (
        "map-1-370464cb82b1b488e8b7b5490837ceee"
    )


@pytest.mark.parametrize(
    ("prompt", "is_template"),
    [
        ("Hi {{ name }}", True),
        ("Hi {{-name}}", True),
        ("{% if a %}b{% endif %}", True),
        ('Answer {"a": {"b": 1}}', False),
        ("{{}}", False),
        ('{{"a": 1}}', False),
    ],
)
def test_a_prompt_with_a_column_is_a_template(
    prompt: str,
    is_template: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    assert question(prompt).is_template is is_template
    kind = "variables" if is_template else "requestData"
    assert kind in question(prompt).job({}, {"name": 1})


def test_options_are_checked() -> None:
    assert read_options({}) == MapOptions()
    assert read_options({"ordered": True}).ordered
    for wrong in (
        {"in_flight": 0},
        {"in_flight": 5_001},
        {"on_error": "stop"},
        {"prority": 1},
    ):
        with pytest.raises(ConfigurationError):
            read_options(wrong)
