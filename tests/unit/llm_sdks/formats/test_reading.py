from collections.abc import Mapping
from dataclasses import astuple
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_sdks import errors
from llm_sdks.anthropic_sdk import AnthropicSDK
from llm_sdks.base_sdk import Usage
from llm_sdks.formats.chat_completions import ChatCompletionsSDK
from llm_sdks.formats.reading import (
    Answer,
    Part,
    merge_counts,
    number_of,
    text_of,
)
from llm_sdks.gemini_sdk import GeminiSDK
from llm_sdks.openai_sdk import OpenAISDK
from llm_sdks.usage import COUNT_LIMIT

SDKS: list[ChatCompletionsSDK | AnthropicSDK | GeminiSDK] = [
    OpenAISDK(),
    AnthropicSDK(),
    GeminiSDK(),
]
by_name = pytest.mark.parametrize("sdk", SDKS, ids=lambda sdk: sdk.get_name())


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (10, 10),
        (10.0, 10),
        ("10", 10),
        ("10.0", 10),
        (None, 0),
        (True, 0),
        (-1, 0),
        ("-1", 0),
        (float("nan"), 0),
        (float("inf"), 0),
        ("many", 0),
        ("9" * 10_000, 0),
        (2**53, 0),
        (2**53 - 1, 2**53 - 1),
        pytest.param(10**5000, 0, id="5000 digits"),
        ([3], 0),
    ],
)
def test_a_count_is_a_number_that_a_call_can_have(
    value: object, number: int
) -> None:
    assert number_of(value) == number


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, ""),
        ("yes", "yes"),
        ([], ""),
        (["ye", "s"], "yes"),
        ([{"type": "text", "text": "ye"}, {"text": "s"}], "yes"),
        ([{"type": "output_text", "text": "yes"}], "yes"),
        ([{"type": "text", "text": {"value": "yes"}}], "yes"),
        ({"type": "text", "text": "yes"}, "yes"),
        (
            [
                {"type": "thinking", "thinking": [{"text": "hm"}]},
                {"type": "reasoning", "text": "hm"},
                {"type": "image_url", "image_url": {}},
                {"type": "text", "text": None},
                None,
                7,
                {"type": "text", "text": "yes"},
            ],
            "yes",
        ),
    ],
)
def test_the_text_of_a_content(content: object, text: str) -> None:
    assert text_of(content) == text


@pytest.mark.parametrize("content", [5, True, 1.5])
def test_what_is_no_content_is_told(content: object) -> None:
    with pytest.raises(TypeError):
        text_of(content)


def test_a_later_count_does_not_take_away_an_earlier_one() -> None:
    known: dict[str, Any] = {}
    merge_counts(known, {"in": 25, "out": 1, "details": {"cached": 7}})
    merge_counts(known, {"in": 0, "out": 15, "details": {"cached": 0}})
    merge_counts(known, {"in": None, "out": 2**64, "details": None})
    assert known == {"in": 25, "out": 15, "details": {"cached": 7}}


@pytest.mark.parametrize(
    ("counts", "usage"),
    [
        (
            {
                "prompt_tokens": 32,
                "completion_tokens": 9,
                "total_tokens": 135,
                "completion_tokens_details": {"reasoning_tokens": 94},
            },
            Usage(32, 103, 0, 94),
        ),
        # A part is never more than the whole.
        (
            {
                "prompt_tokens": 1,
                "completion_tokens": 9,
                "prompt_tokens_details": {"cached_tokens": 4},
                "completion_tokens_details": {"reasoning_tokens": 94},
            },
            Usage(5, 103, 4, 94),
        ),
        (
            {
                "prompt_tokens": 30,
                "completion_tokens": 9,
                "total_tokens": 39,
                "completion_tokens_details": {"reasoning_tokens": 4},
            },
            Usage(30, 9, 0, 4),
        ),
        ({"prompt_tokens": 9, "prompt_cache_hit_tokens": 5}, Usage(9, 0, 5)),
        ({"prompt_tokens": 9, "cached_tokens": 5}, Usage(9, 0, 5)),
        (
            {
                "prompt_tokens": 9,
                "prompt_tokens_details": {"cache_write_tokens": 5},
            },
            Usage(9, 0, 0, 0, 5),
        ),
        ({"input_tokens": 9, "output_tokens": 5}, Usage(9, 5)),
    ],
)
def test_chat_completions_count_in_more_than_one_way(
    counts: Mapping[str, Any], usage: Usage
) -> None:
    assert OpenAISDK().usage(counts) == usage


COUNTS = (
    st.integers()
    | st.floats()
    | st.booleans()
    | st.none()
    | st.sampled_from(["7", "1e9", str(2**64)])
    | st.text()
)
NAMES = [
    *("prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens"),
    *("input_tokens", "output_tokens", "cache_read_input_tokens"),
    *("cache_creation_input_tokens", "promptTokenCount"),
    *("candidatesTokenCount", "thoughtsTokenCount", "totalTokenCount"),
]
DETAILS = st.dictionaries(
    st.sampled_from(["reasoning_tokens", "cached_tokens", "thinking_tokens"]),
    COUNTS,
)


@by_name
@given(
    st.dictionaries(st.sampled_from(NAMES), COUNTS),
    st.dictionaries(
        st.sampled_from(
            [
                "prompt_tokens_details",
                "completion_tokens_details",
                "output_tokens_details",
            ]
        ),
        DETAILS | COUNTS,
    ),
)
def test_whatever_is_counted_usage_can_be_stored(
    sdk: ChatCompletionsSDK, counts: dict[str, Any], details: dict[str, Any]
) -> None:
    known: dict[str, Any] = {}
    merge_counts(known, counts)
    merge_counts(known, details)
    for each in (known, {**counts, **details}):
        usage = sdk.usage(each)
        assert all(
            type(count) is int and 0 <= count < COUNT_LIMIT
            for count in astuple(usage)
        )


def ended(reason: str | None, text: str = "so it is", **part: Any) -> Answer:
    answer = Answer("r-1")
    answer.add(Part(text, finish_reason=reason, **part))
    return answer


@pytest.mark.parametrize(
    "reason",
    ["stop", "STOP", "end_turn", "stop_sequence", "eos", "COMPLETE", None],
)
def test_a_known_good_ending_is_a_success(reason: str | None) -> None:
    done = ended(reason).finish(Usage(1, 2))
    assert (done.text, done.finish_reason) == ("so it is", reason)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("length", errors.TruncatedError),
        ("MAX_TOKENS", errors.TruncatedError),
        ("model_length", errors.TruncatedError),
        ("pause_turn", errors.TruncatedError),
        ("model_context_window_exceeded", errors.TruncatedError),
        ("content_filter", errors.ContentFilteredError),
        ("SAFETY", errors.ContentFilteredError),
        ("FinishReason.RECITATION", errors.ContentFilteredError),
        ("refusal", errors.ContentFilteredError),
        ("insufficient_system_resource", errors.OverloadedError),
        ("no-capacity", errors.OverloadedError),
        ("error", errors.ProviderError),
        ("abort", errors.ProviderError),
        ("network_error", errors.ProviderError),
        ("cancelled", errors.ProviderError),
        ("tool_calls", errors.ToolCalledError),
        ("MALFORMED_FUNCTION_CALL", errors.FailedGenerationError),
        ("OTHER", errors.UnknownEndingError),
        ("whatever", errors.UnknownEndingError),
    ],
)
def test_every_other_ending_is_an_error_that_keeps_what_came(
    reason: str, kind: type[errors.LLMError]
) -> None:
    with pytest.raises(errors.LLMError) as failed:
        ended(reason).finish(Usage(1, 2))
    error = failed.value
    assert type(error) is kind
    assert reason in str(error)
    assert (error.partial_text, error.usage) == ("so it is", Usage(1, 2))
    assert error.request_id == "r-1"


def test_what_costs_money_each_time_has_a_limit() -> None:
    for kind in (
        errors.UnreadableAnswerError,
        errors.UnknownEndingError,
        errors.FailedGenerationError,
    ):
        assert kind.retryable
        assert kind.max_calls == 3
    assert errors.ProviderError.max_calls is None


def test_a_tool_call_keeps_its_arguments() -> None:
    answer = Answer(None)
    answer.add(Part("", tools=[("answer", '{"label"')]))
    answer.add(Part("", tools=[("", ': "pos"}')], finish_reason="stop"))
    with pytest.raises(errors.ToolCalledError, match=r"tool .*: answer") as it:
        answer.finish(Usage())
    assert it.value.partial_text == '{"label": "pos"}'


def test_a_text_beside_a_tool_call_is_an_answer_if_it_ended_well() -> None:
    done = ended("stop", tools=[("answer", "{}")]).finish(Usage())
    assert done.text == "so it is"


def test_a_refusal_is_kept() -> None:
    with pytest.raises(errors.ContentFilteredError, match="refused") as it:
        ended("stop", "", refusal="I will not").finish(Usage())
    assert it.value.partial_text == "I will not"


def test_an_account_without_money_can_be_tried_again() -> None:
    error = errors.AccountExhaustedError("no credit")
    assert (error.kind, error.retryable) == ("ACCOUNT_EXHAUSTED", True)
    assert error.retry_after is None
    assert errors.AccountExhaustedError("x", retry_after=7).retry_after == 7


def test_a_plugins_absurd_counts_are_none() -> None:
    assert Usage(2**64, -1, 2**53, 3) == Usage(0, 0, 0, 3)
