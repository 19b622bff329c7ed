"""Anthropic's messages as clients speak them: requests in, answers out."""

from collections.abc import Iterable, Mapping

from pydantic_core import from_json, to_json

from llm_sdks.answers import (
    Answer,
    AnswerPart,
    Begun,
    Ended,
    Event,
    Finish,
    LogprobsSeen,
    RefusalDelta,
    RefusalOut,
    TextDelta,
    TextOut,
    ThinkingDelta,
    ThinkingOut,
    ToolCallBegun,
    ToolCallDelta,
    UsageSeen,
)
from llm_sdks.conversation import ToolCall
from llm_sdks.errors import FailedGenerationError
from llm_sdks.formats import anthropic_errors
from llm_sdks.formats.anthropic_asked import read, read_to_count
from llm_sdks.formats.anthropic_errors import status_of, write_error
from llm_sdks.formats.api import Head, Json, Problem, server_sent
from llm_sdks.usage import Usage

__all__ = [
    "StreamWriter",
    "read",
    "read_to_count",
    "status_of",
    "write",
    "write_error",
]

_FINISHES: Mapping[Finish, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "refusal": "refusal",
}


def write(answer: Answer, head: Head) -> Json:
    """Write a whole answer: a `message`.

    Raises:
        FailedGenerationError: a call's arguments are no JSON object.
    """
    return {
        **_head(head),
        "content": list(_blocks(answer.parts)),
        **_end(Ended(answer.finish, answer.stop_sequence)),
        "usage": usage_of(answer.usage),
    }


def _head(head: Head) -> Json:
    return {
        "id": f"msg_{head.id}",
        "type": "message",
        "role": "assistant",
        "model": head.model,
    }


def _end(ended: Ended) -> Json:
    reason = _FINISHES[ended.finish]
    if ended.stop_sequence is not None and ended.finish == "stop":
        reason = "stop_sequence"
    return {"stop_reason": reason, "stop_sequence": ended.stop_sequence}


def _blocks(parts: Iterable[AnswerPart]) -> Iterable[Json]:
    for part in parts:
        match part:
            case TextOut() | RefusalOut():
                if part.text:
                    yield {"type": "text", "text": part.text}
            case ThinkingOut():
                yield _thought(part.text, part.signature)
            case ToolCall():
                yield _call(part.id, part.name, _input(part))


def _thought(text: str, signature: str) -> Json:
    return {"type": "thinking", "thinking": text, "signature": signature}


def _call(call_id: str, name: str, arguments: Json) -> Json:
    return {
        "type": "tool_use",
        "id": call_id,
        "name": name,
        "input": arguments,
    }


def _input(call: ToolCall) -> Json:
    try:
        value = from_json(call.arguments)
    except ValueError:
        value = None
    if isinstance(value, dict):
        return value
    raise FailedGenerationError(
        f"The arguments of the model's call of {call.name!r} are no JSON "
        "object",
        partial_text=call.arguments,
    )


def usage_of(usage: Usage) -> Json:
    """Write the tokens that were counted; the cached ones stand beside."""
    beside = usage.cached_tokens + usage.cache_write_tokens
    return {
        "input_tokens": max(usage.input_tokens - beside, 0),
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
        **_thought_tokens(usage.reasoning_tokens),
    }


def _thought_tokens(count: int) -> Json:
    if not count:
        return {}
    return {"output_tokens_details": {"thinking_tokens": count}}


class StreamWriter:
    """Writes the events of one message.

    Blocks follow one another: what opens one closes the one before.
    """

    def __init__(self, head: Head) -> None:
        self._head = head
        self._usage = Usage()
        self._count = 0
        self._open: str | None = None
        # The blocks of calls, by the calls' own numbers.
        self._calls: dict[int, int] = {}

    def write(self, event: Event) -> bytes:
        """Write an event; empty where the format says nothing of it."""
        match event:
            case TextDelta() | RefusalDelta():
                return self._text(event.text)
            case ThinkingDelta():
                return self._think(event)
            case ToolCallBegun():
                self._calls[event.index] = self._count
                block = _call(event.id, event.name, {})
                return self._begin("call", block)
            case ToolCallDelta():
                return self._argue(event)
            case _:
                return self._of_message(event)

    def _of_message(
        self, event: Begun | UsageSeen | LogprobsSeen | Ended
    ) -> bytes:
        match event:
            case Begun():
                return self._start()
            case Ended():
                return self._finish(event)
            case UsageSeen():
                self._usage = event.usage
        return b""

    def fail(self, problem: Problem) -> bytes:
        """Write that the stream ends here without the rest."""
        return anthropic_errors.stream_error(problem)

    def _start(self) -> bytes:
        message = {
            **_head(self._head),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage_of(self._usage),
        }
        return _event("message_start", message=message)

    def _text(self, text: str) -> bytes:
        start = b""
        if self._open != "text":
            start = self._begin("text", {"type": "text", "text": ""})
        # As `_event` would write it; most events are of this kind.
        return start + (
            b"event: content_block_delta\n"
            b'data: {"type":"content_block_delta","index":%d,'
            b'"delta":{"type":"text_delta","text":%b}}\n\n'
            % (self._count - 1, to_json(text))
        )

    def _think(self, event: ThinkingDelta) -> bytes:
        written = b""
        if self._open != "thinking":
            written = self._begin("thinking", _thought("", ""))
        if event.text:
            thought = {"type": "thinking_delta", "thinking": event.text}
            written += self._delta(self._count - 1, thought)
        if event.signature:
            proof = {"type": "signature_delta", "signature": event.signature}
            # It ends the block: another one may follow.
            written += self._delta(self._count - 1, proof) + self._close()
        return written

    def _argue(self, event: ToolCallDelta) -> bytes:
        more = {"type": "input_json_delta", "partial_json": event.arguments}
        return self._delta(self._calls[event.index], more)

    def _delta(self, index: int, delta: Json) -> bytes:
        return _event("content_block_delta", index=index, delta=delta)

    def _begin(self, kind: str, block: Json) -> bytes:
        before = self._close()
        self._open = kind
        self._count += 1
        return before + _event(
            "content_block_start", index=self._count - 1, content_block=block
        )

    def _close(self) -> bytes:
        if self._open is None:
            return b""
        self._open = None
        return _event("content_block_stop", index=self._count - 1)

    def _finish(self, event: Ended) -> bytes:
        delta = _end(event)
        usage = usage_of(self._usage)
        return (
            self._close()
            + _event("message_delta", delta=delta, usage=usage)
            + _event("message_stop")
        )


def _event(kind: str, **fields: object) -> bytes:
    return server_sent({"type": kind, **fields}, kind)
