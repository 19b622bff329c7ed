# ruff: noqa: E501 - the messages stand as providers send them
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_sdks import errors
from llm_sdks.profiles.profile import (
    EVERYTHING,
    NEWER_LIMIT,
    NOTHING,
    OLDER_LIMIT,
    Profile,
)
from llm_sdks.profiles.refusals import Negotiation, lesson_of
from tests.support.timing import is_within, processor_seconds

SCHEMA = {
    "type": "object",
    "properties": {
        "a": {"oneOf": [{"type": "integer"}, {"type": "string"}]},
        "b": {"type": "integer", "default": 1, "minimum": 0},
    },
    "required": ["a"],
    "additionalProperties": False,
}
FORM = {
    "type": "json_schema",
    "json_schema": {"name": "x", "schema": SCHEMA, "strict": True},
}
BODY: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
    ],
    "temperature": 0.5,
    "top_p": 0.5,
    "seed": 1,
    "presence_penalty": 1,
    "frequency_penalty": 1,
    "reasoning_effort": "low",
    "max_tokens": 9,
    "parallel_tool_calls": False,
    "stream_options": {"include_usage": True},
    "response_format": FORM,
}
NEWER = {
    **{k: v for k, v in BODY.items() if k != "max_tokens"},
    "max_completion_tokens": 9,
}
LOOSE = {**FORM, "json_schema": {"name": "x", "schema": SCHEMA}}
OBJECT = {**BODY, "response_format": {"type": "json_object"}}
CLAUDE = {
    "model": "m",
    "temperature": 0.5,
    "top_p": 0.5,
    "max_tokens": 9,
    "system": "Be brief.",
    "messages": [{"role": "user", "content": "Hi"}],
    "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
}
GEMINI = {
    "contents": "Hi",
    "config": {
        "temperature": 0.5,
        "system_instruction": "Be brief.",
        "response_mime_type": "application/json",
        "response_json_schema": SCHEMA,
    },
}


def refused(
    message: str, param: str | None = None, status: int = 400
) -> errors.BadRequestError:
    error = errors.BadRequestError(f"HTTP {status}: {message}")
    error.param = param
    return error


NO_TEMPERATURE = Profile(supports_temperature=False)
NO_SCHEMA = Profile(supports_json_schema=False)
LESSONS = [
    (
        (
            "Unsupported value: 'temperature' does not support 0.5 with this model."
            " Only the default (1) value is supported."
        ),
        "temperature",
        BODY,
        NO_TEMPERATURE,
    ),
    (
        "Unsupported parameter: 'temperature' is not supported with this model.",
        None,
        BODY,
        NO_TEMPERATURE,
    ),
    (
        "invalid temperature: only 1 is allowed for this model",
        None,
        BODY,
        NO_TEMPERATURE,
    ),
    (
        "temperature: Extra inputs are not permitted",
        None,
        BODY,
        NO_TEMPERATURE,
    ),
    (
        "`temperature` is deprecated for this model.",
        None,
        CLAUDE,
        NO_TEMPERATURE,
    ),
    (
        "Unrecognized request argument supplied: temperature",
        None,
        BODY,
        NO_TEMPERATURE,
    ),
    ("This model does not support temperature.", None, BODY, NO_TEMPERATURE),
    ("Parameter not supported: temperature", None, BODY, NO_TEMPERATURE),
    (
        "Temperature is not configurable for reasoning models",
        None,
        BODY,
        NO_TEMPERATURE,
    ),
    ("this model only supports temperature=1", None, BODY, NO_TEMPERATURE),
    ("temperature must be 1", None, BODY, NO_TEMPERATURE),
    (
        (
            'Invalid JSON payload received. Unknown name "temperature" at '
            "'generation_config': Cannot find field."
        ),
        None,
        GEMINI,
        NO_TEMPERATURE,
    ),
    (
        "The temperature can't be set for this model",
        None,
        BODY,
        NO_TEMPERATURE,
    ),
    (
        (
            "`temperature` and `top_p` cannot both be specified for this model. "
            "Please use only one."
        ),
        None,
        CLAUDE,
        Profile(supports_top_p=False),
    ),
    (
        (
            "this model has beta-limitations, temperature, top_p and n are fixed at "
            "1, while presence_penalty and frequency_penalty are fixed at 0"
        ),
        None,
        BODY,
        Profile(
            supports_temperature=False,
            supports_top_p=False,
            supports_penalties=False,
        ),
    ),
    (
        "seed: Extra inputs are not permitted",
        None,
        BODY,
        Profile(supports_seed=False),
    ),
    (
        (
            "Unsupported parameter: 'max_tokens' is not supported with this model. "
            "Use 'max_completion_tokens' instead."
        ),
        "max_tokens",
        BODY,
        Profile(token_limit_field=NEWER_LIMIT),
    ),
    (
        "max_completion_tokens: Extra inputs are not permitted",
        None,
        NEWER,
        Profile(token_limit_field=OLDER_LIMIT),
    ),
    (
        "body.max_completion_tokens: extra fields not permitted",
        None,
        NEWER,
        Profile(token_limit_field=OLDER_LIMIT),
    ),
    (
        "Unknown parameter: 'stream_options'",
        None,
        BODY,
        Profile(supports_stream_usage=False),
    ),
    (
        "Unsupported parameter: reasoning_effort",
        None,
        BODY,
        Profile(supports_reasoning_effort=False),
    ),
    (
        "parallel_tool_calls is not supported",
        None,
        BODY,
        Profile(supports_parallel_tool_calls=False),
    ),
    (
        (
            "Unsupported value: 'messages[0].role' does not support 'system' with "
            "this model."
        ),
        "messages[0].role",
        BODY,
        Profile(supports_system=False),
    ),
    ("System role not supported", None, BODY, Profile(supports_system=False)),
    (
        "Developer instruction is not enabled for models/gemma-3-27b-it",
        None,
        GEMINI,
        Profile(supports_system=False),
    ),
    (
        "Conversation roles must alternate user/assistant/user/...",
        None,
        BODY,
        Profile(supports_system=False),
    ),
    ("This response_format type is unavailable now", None, BODY, NO_SCHEMA),
    (
        "'response_format.type' must be 'text' or 'json_object'",
        None,
        BODY,
        NO_SCHEMA,
    ),
    (
        "response_format.type: Input should be 'text' or 'json_object'",
        None,
        BODY,
        NO_SCHEMA,
    ),
    (
        "This model does not support response format `json_schema`.",
        "response_format",
        BODY,
        NO_SCHEMA,
    ),
    (
        "'response_format.type' must be 'json_schema' or 'text'",
        None,
        OBJECT,
        Profile(supports_json_object=False),
    ),
    ("JSON mode is not enabled for models/x", None, GEMINI, NO_SCHEMA),
    ("output_config: Extra inputs are not permitted", None, CLAUDE, NO_SCHEMA),
    (
        (
            "Invalid schema for response_format 'x': In context=('properties', 'b'),"
            " 'default' is not permitted."
        ),
        "response_format",
        BODY,
        Profile(schema_keywords_refused=("default",)),
    ),
    (
        (
            "Invalid schema for response_format 'x': In context=('properties', 'a'),"
            " 'oneOf' is not permitted."
        ),
        "response_format",
        BODY,
        Profile(schema_keywords_refused=("oneOf",)),
    ),
    (
        "output_config.format.schema: Schema type 'oneOf' is not supported",
        None,
        CLAUDE,
        Profile(schema_keywords_refused=("oneOf",)),
    ),
    (
        (
            "output_config.format.schema: For 'integer' type, properties minimum, "
            "default are not supported"
        ),
        None,
        CLAUDE,
        Profile(schema_keywords_refused=("default", "minimum")),
    ),
    (
        (
            "Invalid schema for response_format 'x': In context=(), "
            "'additionalProperties' is required to be supplied and to be false."
        ),
        "response_format",
        BODY
        | {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"strict": True, "schema": {"type": "object"}},
            }
        },
        Profile(supports_strict_schema=False),
    ),
]


@pytest.mark.parametrize(("message", "param", "body", "lesson"), LESSONS)
def test_a_refused_option_is_told(
    message: str, param: str | None, body: dict[str, Any], lesson: Profile
) -> None:
    assert lesson_of(refused(message, param), body) == lesson


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ("temperature must be at most 1", None),
        ("temperature: Input should be less than or equal to 1", None),
        ("temperature must be between 0 and 1", "temperature"),
        ("Invalid 'max_tokens': integer above maximum value.", "max_tokens"),
        ("max_tokens is too large: 9. This model supports at most 4", None),
        ("This model's maximum context length is 10 tokens", "messages"),
        ("messages.0.content: temperature is not supported", None),
        ("Invalid 'messages[1].content': seed is not supported", None),
        ("temperature is not supported in the prompt", "messages"),
        ("Unknown parameter: 'foo'. Supported parameters: temperature", None),
        ("Unknown parameter 'foo', did you mean temperature?", None),
        ("Unknown parameter: 'foo'", "foo"),
        ("The model `x` does not exist", "model"),
        ("Image URL is not supported", None),
        ("top_k is not supported", None),
        ("so it is", None),
        ("", None),
    ],
)
def test_what_is_about_something_else_teaches_nothing(
    message: str, param: str | None
) -> None:
    body = {k: v for k, v in BODY.items() if k != "response_format"}
    assert lesson_of(refused(message, param), body) == NOTHING
    assert lesson_of(refused(message, param), {**BODY}) == NOTHING


@given(st.text(), st.none() | st.text())
def test_any_words_can_be_read(message: str, param: str | None) -> None:
    for body in (BODY, CLAUDE, GEMINI, {}):
        lesson_of(refused(message, param), body)


def test_several_options_are_refused_one_after_the_other() -> None:
    talk = Negotiation(EVERYTHING, lambda pending: pending.over(EVERYTHING))
    assert talk.refused(refused("temperature is not supported"), BODY)
    assert not talk.profile.supports_temperature
    assert talk.refused(refused("seed is not supported"), BODY)
    assert talk.profile.supports_seed is talk.profile.supports_temperature
    assert talk.profile.supports_top_p


def test_both_names_of_the_limit_are_tried_once() -> None:
    talk = Negotiation(EVERYTHING, lambda pending: pending.over(EVERYTHING))
    assert talk.refused(refused("max_tokens is not supported"), BODY)
    no = refused("max_completion_tokens is not supported")
    assert not talk.refused(no, NEWER)


def test_what_the_owner_says_is_not_given_up() -> None:
    said = Profile(supports_temperature=True)
    talk = Negotiation(
        said.over(EVERYTHING),
        lambda pending: said.over(pending).over(EVERYTHING),
    )
    assert not talk.refused(refused("temperature is not supported"), BODY)


def test_tries_are_bounded() -> None:
    talk = Negotiation(EVERYTHING, lambda pending: pending.over(EVERYTHING))
    names = ["temperature", "top_p", "seed", "presence_penalty"] * 5
    tries = [
        talk.refused(refused(f"{name} is not supported"), BODY)
        for name in names
    ]
    assert sum(tries) <= Negotiation.MOST_TRIES


def test_what_the_model_failed_to_write_is_asked_for_again() -> None:
    talk = Negotiation(EVERYTHING, lambda pending: pending.over(EVERYTHING))
    failed = refused("Failed to generate JSON. See 'failed_generation'.")
    assert talk.refused(failed, BODY)
    assert talk.repeats
    assert talk.profile == EVERYTHING
    assert talk.refused(failed, BODY)
    assert not talk.profile.supports_json_schema
    assert not talk.refused(failed, BODY)
    assert talk.pending == NOTHING


@pytest.mark.parametrize(
    "piece",
    ["'", "not ", "only ", "properties a, ", "temperature ", "fields: x and "],
)
def test_no_message_takes_long_to_read(piece: str) -> None:
    error = refused((piece * 1000)[:1000])

    def work() -> None:
        for body in (BODY, CLAUDE, GEMINI):
            lesson_of(error, body)

    assert is_within(0.1, lambda: processor_seconds(work))


@pytest.mark.parametrize(
    ("message", "body", "lesson"),
    [
        (message, BODY, Profile(supports_temperature=False))
        for message in (
            "参数 temperature 不支持",
            "temperature should be 1 for this model",
            "temperature has to be set to 1.0",
        )
    ]
    + [
        (message, BODY, Profile(supports_json_schema=False))
        for message in (
            "Guided decoding is disabled on this server",
            "This model does not support output format",
            "模型不支持 response_format json_schema",
        )
    ]
    + [
        (
            "Only user and assistant roles are supported!",
            BODY,
            Profile(supports_system=False),
        )
    ],
)
def test_refusals_in_other_words_are_told(
    message: str, body: dict[str, Any], lesson: Profile
) -> None:
    assert lesson_of(refused(message), body) == lesson


@pytest.mark.parametrize(
    "message", ["temperature must be 1 or less", "temperature should be 1-2"]
)
def test_a_range_that_begins_with_one_is_no_refusal(message: str) -> None:
    body = {k: v for k, v in BODY.items() if k != "response_format"}
    assert lesson_of(refused(message), body) == NOTHING
