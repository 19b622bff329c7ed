import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_sdks.anthropic_sdk import AnthropicSDK
from llm_sdks.errors import OverloadedError, UnreadableAnswerError
from llm_sdks.formats import metering
from llm_sdks.formats.metering import AnswerMeter
from llm_sdks.forwarding import Interface
from llm_sdks.openai_sdk import OpenAISDK


def meter(
    interface: Interface, texts: list[str] | None = None, **options: Any
) -> AnswerMeter:
    is_messages = interface is Interface.MESSAGES
    sdk = AnthropicSDK() if is_messages else OpenAISDK()
    kept = [] if texts is None else texts
    return AnswerMeter(interface, sdk, kept, "secret", **options)


def event(value: object, name: str = "", end: str = "\n\n") -> bytes:
    first = f"event: {name}\n" if name else ""
    return f"{first}data: {json.dumps(value)}{end}".encode()


def chunk(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return event({"choices": [choice], "usage": None})


USAGE = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
LAST = event({"choices": [], "usage": USAGE})
CHAT = chunk("Hel") + chunk("lo\n\n") + chunk("", "stop") + LAST
DONE = b"data: [DONE]\n\n"


@given(
    cuts=st.lists(st.integers(1, len(CHAT + DONE) - 1)), hides=st.booleans()
)
def test_bytes_come_through_however_they_are_split(
    *, cuts: list[int], hides: bool
) -> None:
    whole = CHAT + DONE
    ends = sorted({*cuts, len(whole)})
    pieces = [whole[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)]
    texts: list[str] = []
    counted = meter(Interface.CHAT, texts, hides_usage=hides)
    sent = b"".join(map(counted.feed, pieces)) + counted.close()
    assert sent == (whole.replace(LAST, b"") if hides else whole)
    assert "".join(texts) == "Hello\n\n"
    assert counted.usage is not None
    assert counted.usage.output_tokens == 5
    assert counted.has_ended
    assert counted.error is None


@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n"])
def test_anthropics_counts_are_put_together(end: str) -> None:
    start = {"input_tokens": 7, "output_tokens": 1}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"usage": start}},
        {
            "type": "content_block_delta",
            "delta": {"type": "text_delta", "text": "hi"},
        },
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": {"output_tokens": 9},
        },
        {"type": "message_stop"},
    ]
    texts: list[str] = []
    counted = meter(Interface.MESSAGES, texts)
    for each in events:
        assert not counted.error
        sent = event(each, str(each["type"]), end)
        assert counted.feed(sent) == sent
    assert texts == ["hi"]
    assert counted.usage is not None
    assert (counted.usage.input_tokens, counted.usage.output_tokens) == (7, 9)


def test_an_error_in_a_stream_is_noticed_and_sent_on() -> None:
    problem = {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "Overloaded"},
    }
    counted = meter(Interface.MESSAGES)
    sent = event(problem, "error")
    assert counted.feed(sent) == sent
    assert isinstance(counted.error, OverloadedError)
    assert not counted.has_ended


def test_responses_end_with_their_usage() -> None:
    usage = {
        "input_tokens": 10,
        "output_tokens": 20,
        "input_tokens_details": {"cached_tokens": 4},
        "output_tokens_details": {"reasoning_tokens": 6},
    }
    texts: list[str] = []
    counted = meter(Interface.RESPONSES, texts)
    counted.feed(event({"type": "response.output_text.delta", "delta": "a"}))
    assert not counted.has_ended
    response = {"status": "completed", "usage": usage, "error": None}
    counted.feed(event({"type": "response.completed", "response": response}))
    assert counted.has_ended
    assert texts == ["a"]
    found = counted.usage
    assert found is not None
    assert (found.cached_tokens, found.reasoning_tokens) == (4, 6)
    failed = {"status": "failed", "error": {"message": "No", "code": "x"}}
    other = meter(Interface.RESPONSES)
    other.feed(event({"type": "response.failed", "response": failed}))
    assert other.error is not None


def test_whole_answers_are_counted() -> None:
    message = {"content": "hi", "role": "assistant"}
    answer = {"choices": [{"message": message}], "usage": USAGE}
    texts: list[str] = []
    counted = meter(Interface.CHAT, texts)
    counted.whole(json.dumps(answer).encode())
    assert texts == ["hi"]
    assert counted.usage is not None
    for odd in (b"", b"{", b"[]", b"null", b'{"choices": 3}', b"\xff"):
        other = meter(Interface.CHAT)
        other.whole(odd)
        assert other.usage is None
        assert other.error is None
    failed = meter(Interface.CHAT)
    failed.whole(b'{"error": {"message": "No"}}')
    assert failed.error is not None
    # A whole answer where a stream was asked for.
    late = meter(Interface.CHAT)
    content = json.dumps(answer).encode()
    assert late.feed(content) + late.close() == content
    assert late.has_ended
    assert late.usage is not None


def test_only_the_end_of_many_vectors_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metering, "WHOLE_READ", 100)
    answer = {
        "data": [{"embedding": [0.5] * 5000}],
        "usage": {"prompt_tokens": 12, "total_tokens": 12},
    }
    counted = meter(Interface.EMBEDDINGS)
    counted.whole(json.dumps(answer).encode())
    assert counted.usage is not None
    assert counted.usage.input_tokens == 12


def test_an_event_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metering, "_LONGEST_EVENT", 1000)
    counted = meter(Interface.CHAT)
    counted.feed(b"data: " + b"x" * 900)
    with pytest.raises(UnreadableAnswerError):
        counted.feed(b"x" * 200)


@given(st.lists(st.binary(max_size=80), max_size=8))
def test_nothing_that_a_provider_sends_raises(pieces: list[bytes]) -> None:
    for interface in Interface:
        counted = meter(interface)
        for piece in pieces:
            counted.feed(piece)
        counted.close()
        assert counted.usage is None or counted.usage.input_tokens >= 0
