"""Two questions have one key if, and only if, they are the same."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from api.models.job_models import JobCreate
from api.models.model_models import Model
from api.services.jobs.answer_key import Asker, key_of_job
from tests.support.examples import examples

Json = dict[str, Any]
_METADATA = {"createdAt": 0, "updatedAt": 0}
_SMALL = st.sampled_from(["", "a", "b", "ab", '","', "1:a", "é"])
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | _SMALL,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(_SMALL, inner, max_size=2)
    ),
    max_leaves=4,
)
# All that reaches a model, in few values each, so that equals are met.
_QUESTIONS = st.fixed_dictionaries(
    {
        "client": st.sampled_from(["c1", "c2"]),
        "system": _SMALL,
        "model": st.fixed_dictionaries(
            {
                "sdk": st.sampled_from(["OpenAI", "test"]),
                "deployment": st.sampled_from(["m", "m2"]),
                "maxToken": st.sampled_from([1, 2]),
            }
        ),
        "job": st.fixed_dictionaries(
            {
                "temperature": st.sampled_from([0.0, 0.5]),
                "sample": st.sampled_from([0, 1]),
                "requestData": st.dictionaries(_SMALL, _VALUES, max_size=2),
            },
            optional={
                "responseFormat": st.sampled_from(["json", "text"]),
                "sampling": st.sampled_from([{}, {"seed": 1}, {"seed": 2}]),
                "retryOnInvalid": st.sampled_from([{"maxReasks": 1}]),
                "messages": st.lists(
                    st.fixed_dictionaries(
                        {"role": st.just("user"), "content": _SMALL}
                    ),
                    min_size=1,
                    max_size=2,
                ),
            },
        ),
    }
)
# What does not reach it.
_NOTES = st.fixed_dictionaries(
    {},
    optional={
        "operation": st.sampled_from(["a", "b"]),
        "priority": st.integers(1, 9),
        "id": st.just("mine"),
        "cache": st.sampled_from(["use", "fresh"]),
        "clientReference": st.just({"x": 1}),
        "batchKey": st.just("k"),
    },
)


def model(**fields: object) -> Model:
    return Model.model_validate(
        {"model_id": "0" * 24, "name": "n", "_metadata": _METADATA, **fields}
    )


def request(fields: Json) -> JobCreate:
    body = {
        "operation": "o",
        "model": "n",
        "workingPrompts": ["p"],
        "cache": "use",
        **fields,
    }
    return JobCreate.model_validate(body)


def key(question: Json, notes: Json | None = None) -> str:
    job = request({**question["job"], **(notes or {})})
    asker = Asker.make(
        question["client"],
        job,
        question["system"],
        model(**question["model"]),
    )
    return key_of_job(asker, job)


def same(one: Json, other: Json) -> bool:
    # By the text that is sent: the order of the data's fields is part of it.
    def sent(question: Json) -> list[str]:
        job = question["job"]
        rest = {k: v for k, v in job.items() if k != "requestData"}
        whole = {**question, "job": {"responseFormat": "json", **rest}}
        return [
            json.dumps(whole, sort_keys=True),
            json.dumps(job["requestData"]),
        ]

    return sent(one) == sent(other)


@settings(max_examples=examples(400))
@given(_QUESTIONS, _QUESTIONS, _NOTES)
def test_keys_differ_if_and_only_if_questions_do(
    one: Json, other: Json, notes: Json
) -> None:
    assert (key(one) == key(other, notes)) is same(one, other)
    assert key(one) == key(one, notes)


@settings(max_examples=examples(100))
@given(_QUESTIONS, st.data())
def test_each_part_of_a_question_counts(
    one: Json, data: st.DataObject
) -> None:
    """Equal but for one part: questions drawn apart seldom are so near."""
    other = data.draw(_QUESTIONS)
    part = data.draw(st.sampled_from(sorted(one)))
    changed = {**one, part: other[part]}
    assert (key(one) == key(changed)) is same(one, changed)


@given(
    st.lists(_SMALL, min_size=2, max_size=2),
    st.lists(_SMALL, min_size=2, max_size=2),
)
@example(["a", "1:a"], ["a1:", "a"])
def test_texts_do_not_run_together(one: list[str], other: list[str]) -> None:
    job = request({"requestData": {}})
    keys = [
        Asker.make("c", job, system, model(sdk="test")).key(user)
        for system, user in (one, other)
    ]
    assert (keys[0] == keys[1]) is (one == other)


def test_a_template_counts_as_what_it_makes() -> None:
    filled = request({"variables": {"x": 1}})
    asker = Asker.make("c", filled, "Say {{ x }}", model(sdk="test"))
    plain = request({"messages": [{"role": "user", "content": "Say 1"}]})
    same_asker = Asker.make("c", plain, "", model(sdk="test"))
    assert key_of_job(asker, filled) == key_of_job(same_asker, plain)
    assert asker.key("", None, {"x": 2}) != key_of_job(asker, filled)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"sdk": "OpenAI"}, id="sdk"),
        pytest.param({"endpoint": "https://x.example"}, id="endpoint"),
        pytest.param({"apiVersion": "2"}, id="version"),
        pytest.param({"deployment": "d"}, id="deployment"),
        pytest.param({"maxToken": 5}, id="limit"),
        pytest.param({"maxTemperature": 0.5}, id="temperature"),
        pytest.param({"profile": {"images": False}}, id="profile"),
    ],
)
def test_a_models_settings_count(fields: Json) -> None:
    job = request({"requestData": {}})
    plain = Asker.make("c", job, "s", model(sdk="test")).key("{}")
    other = Asker.make("c", job, "s", model(**{"sdk": "test", **fields}))
    assert other.key("{}") != plain
    # Its price and its limits do not.
    cheap = model(sdk="test", limits={"requestsPerMinute": 1})
    assert Asker.make("c", job, "s", cheap).key("{}") == plain
