"""OpenAI's responses."""

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

from provider_simulator.values import (
    Answer,
    Call,
    Event,
    RefusedError,
    Request,
    bad_request,
    count_tokens,
    pieces,
)
from provider_simulator.wire import (
    Body,
    mapping,
    positive,
    server_sent,
    text_of,
)
from provider_simulator.wire_openai import OpenAIWire

_CREATED = 1_700_000_000


class ResponsesWire(OpenAIWire):
    """`/v1/responses`."""

    name = "openai_responses"

    def call(self, body: Body, request: Request) -> Call:
        """Read a request."""
        texts = _texts(body.get("input"))
        instructions = count_tokens(text_of(body.get("instructions")))
        return Call(
            model=self.model(body, request),
            text=texts[-1],
            input_tokens=sum(map(count_tokens, texts)) + instructions,
            max_tokens=positive(body, "max_output_tokens"),
            stream=body.get("stream") is True,
            schema=_schema(body),
        )

    def whole(self, call: Call, answer: Answer, number: int) -> object:
        """Return a `response`."""
        return _response(call, answer, number)

    def events(
        self, call: Call, answer: Answer, number: int
    ) -> Iterator[Event]:
        """Yield the events of one message with one text."""
        numbers = count()

        def event(kind: str, **fields: object) -> bytes:
            value = {"type": kind, "sequence_number": next(numbers), **fields}
            return server_sent(value, kind)

        where = {
            "item_id": f"msg_{number:024x}",
            "output_index": 0,
            "content_index": 0,
        }
        begun = _response(call, None, number)
        done = _response(call, answer, number)
        yield Event(event("response.created", response=begun))
        yield Event(event("response.in_progress", response=begun))
        item = {**_message(number, None), "status": "in_progress"}
        yield Event(
            event("response.output_item.added", output_index=0, item=item)
        )
        part = _part("")
        yield Event(event("response.content_part.added", **where, part=part))
        for piece in pieces(answer.text):
            delta = {**where, "delta": piece, "logprobs": []}
            yield Event(event("response.output_text.delta", **delta), 1)
        whole = {**where, "text": answer.text, "logprobs": []}
        yield Event(event("response.output_text.done", **whole))
        part = _part(answer.text)
        yield Event(event("response.content_part.done", **where, part=part))
        item = _message(number, answer.text)
        yield Event(
            event("response.output_item.done", output_index=0, item=item)
        )
        yield Event(event(f"response.{done['status']}", response=done))

    def stream_problem(self, error: RefusedError, number: int) -> Event:
        """Return an `error` event."""
        del number
        value = {
            "type": "error",
            "code": "server_error",
            "message": error.message,
            "param": None,
            "sequence_number": 0,
        }
        return Event(server_sent(value, "error"))


def _texts(given: object) -> list[str]:
    if isinstance(given, str) and given:
        return [given]
    if not isinstance(given, list) or not given:
        raise bad_request("Missing required parameter: 'input'.")
    return [text_of(mapping(item).get("content")) for item in given]


def _schema(body: Body) -> Mapping[str, Any] | None:
    form = mapping(mapping(body.get("text")).get("format"))
    if form.get("type") != "json_schema":
        return None
    return mapping(form.get("schema"))


def _response(
    call: Call, answer: Answer | None, number: int
) -> dict[str, Any]:
    is_cut = answer is not None and answer.finish == "length"
    status = "incomplete" if is_cut else "completed"
    cut = {"reason": "max_output_tokens"} if is_cut else None
    return {
        "id": f"resp_{number:024x}",
        "object": "response",
        "created_at": _CREATED,
        "status": "in_progress" if answer is None else status,
        "error": None,
        "incomplete_details": cut,
        "instructions": None,
        "metadata": {},
        "model": call.model,
        "output": [] if answer is None else [_message(number, answer.text)],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": None if answer is None else _usage(answer),
    }


def _message(number: int, text: str | None) -> dict[str, Any]:
    return {
        "id": f"msg_{number:024x}",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [] if text is None else [_part(text)],
    }


def _part(text: str) -> dict[str, Any]:
    return {
        "type": "output_text",
        "text": text,
        "annotations": [],
        "logprobs": [],
    }


def _usage(answer: Answer) -> dict[str, Any]:
    tokens = answer.tokens
    return {
        "input_tokens": tokens.input,
        "input_tokens_details": {"cached_tokens": tokens.cached},
        "output_tokens": tokens.output,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": tokens.input + tokens.output,
    }
