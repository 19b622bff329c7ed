"""Chat completions as clients speak them: requests in, answers out."""

from typing import Any

from pydantic_core import to_json

from llm_sdks.answers import (
    Answer,
    Begun,
    Ended,
    Event,
    Finish,
    Logprobs,
    LogprobsSeen,
    RefusalDelta,
    TextDelta,
    ThinkingDelta,
    TokenChance,
    ToolCallBegun,
    ToolCallDelta,
    UsageSeen,
)
from llm_sdks.conversation import ToolCall
from llm_sdks.formats import openai_errors
from llm_sdks.formats.api import Head, Json, Problem, server_sent
from llm_sdks.formats.openai_chat_asked import read
from llm_sdks.formats.openai_errors import status_of, write_error
from llm_sdks.usage import Usage

__all__ = ["StreamWriter", "read", "status_of", "write", "write_error"]

_FINISHES: dict[Finish, str] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    # OpenAI tells a refusal by the message alone.
    "refusal": "stop",
}
_DONE = b"data: [DONE]\n\n"


def write(answer: Answer, head: Head) -> Json:
    """Write a whole answer: a `chat.completion`."""
    return {
        **_head(head, "chat.completion"),
        "choices": [
            {
                "index": 0,
                "message": _message(answer),
                "logprobs": _logprobs(answer.logprobs),
                "finish_reason": _finish(answer),
            }
        ],
        "usage": usage_of(answer.usage),
    }


def _head(head: Head, kind: str) -> Json:
    return {
        "id": f"chatcmpl-{head.id}",
        "object": kind,
        "created": head.created,
        "model": head.model,
    }


def _finish(answer: Answer) -> str:
    # A refusal without a word would look like an empty answer.
    if answer.finish == "refusal" and not answer.refusal:
        return "content_filter"
    return _FINISHES[answer.finish]


def _message(answer: Answer) -> Json:
    calls = [_call(each) for each in answer.tool_calls]
    empty = None if calls or answer.refusal else ""
    message: Json = {
        "role": "assistant",
        "content": answer.text or empty,
        "refusal": answer.refusal or None,
    }
    if answer.thinking:
        # Not OpenAI's field, but what others of this format call it.
        message["reasoning_content"] = answer.thinking
    if calls:
        message["tool_calls"] = calls
    return message


def _call(call: ToolCall) -> Json:
    function = {"name": call.name, "arguments": call.arguments}
    return {
        "id": call.id,
        "type": "function",
        "function": function,
        **_signature(call.signature),
    }


def _signature(signature: str) -> Json:
    # As Google's own endpoint of this format gives it.
    if not signature:
        return {}
    return {"extra_content": {"google": {"thought_signature": signature}}}


def _logprobs(tokens: Logprobs | None) -> Json | None:
    if tokens is None:
        return None
    return {"content": logprobs_of(tokens), "refusal": None}


def logprobs_of(tokens: Logprobs) -> list[Json]:
    """Write the probabilities of tokens."""
    return [
        {
            **_chance(token),
            "top_logprobs": [_chance(each) for each in token.top],
        }
        for token in tokens
    ]


def _chance(chance: TokenChance) -> Json:
    data = None if chance.data is None else list(chance.data)
    return {"token": chance.token, "logprob": chance.logprob, "bytes": data}


def usage_of(usage: Usage) -> Json:
    """Write the tokens that were counted."""
    asked: Json = {"cached_tokens": usage.cached_tokens}
    if usage.cache_write_tokens:
        asked["cache_write_tokens"] = usage.cache_write_tokens
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": asked,
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens
        },
    }


class StreamWriter:
    """Writes a stream of `chat.completion.chunk`s."""

    def __init__(self, head: Head, *, usage: bool = False) -> None:
        self._head: Json = _head(head, "chat.completion.chunk")
        self._usage: Usage | None = Usage() if usage else None
        if usage:
            self._head["usage"] = None
        self._refused = False
        # What stands around the pieces of text, which most events are.
        mark = "\0"
        chunk = self._chunk({"content": mark})
        self._before, self._after = chunk.rsplit(to_json(mark), 1)

    def write(self, event: Event) -> bytes:
        """Write an event; empty where the format says nothing of it."""
        match event:
            case TextDelta():
                return self._before + to_json(event.text) + self._after
            case Begun():
                first = {"role": "assistant", "content": "", "refusal": None}
                return self._chunk(first)
            case UsageSeen():
                if self._usage is not None:
                    self._usage = event.usage
                return b""
            case LogprobsSeen():
                return self._chunk({}, logprobs=_logprobs(event.tokens))
            case Ended():
                return self._end(event)
            case _:
                return self._chunk(self._delta(event))

    def fail(self, problem: Problem) -> bytes:
        """Write that the stream ends here without the rest."""
        return openai_errors.stream_error(problem)

    def _delta(
        self,
        event: ThinkingDelta | RefusalDelta | ToolCallBegun | ToolCallDelta,
    ) -> Json:
        match event:
            case ThinkingDelta():
                return {"reasoning_content": event.text}
            case RefusalDelta():
                self._refused = True
                return {"refusal": event.text}
            case ToolCallBegun():
                call = ToolCall(event.id, event.name, "", event.signature)
                return _tool_delta(event.index, _call(call))
            case ToolCallDelta():
                function = {"arguments": event.arguments}
                return _tool_delta(event.index, {"function": function})

    def _end(self, event: Ended) -> bytes:
        finish = _FINISHES[event.finish]
        if event.finish == "refusal" and not self._refused:
            finish = "content_filter"
        end = self._chunk({}, finish)
        if self._usage is not None:
            counts = usage_of(self._usage)
            last = {**self._head, "choices": [], "usage": counts}
            end += server_sent(last)
        return end + _DONE

    def _chunk(
        self,
        delta: Json,
        finish: str | None = None,
        logprobs: Json | None = None,
    ) -> bytes:
        choice: dict[str, Any] = {
            "index": 0,
            "delta": delta,
            "logprobs": logprobs,
            "finish_reason": finish,
        }
        return server_sent({**self._head, "choices": [choice]})


def _tool_delta(index: int, call: Json) -> Json:
    return {"tool_calls": [{"index": index, **call}]}
