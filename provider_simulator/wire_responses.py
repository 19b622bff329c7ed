"""OpenAI's Responses: items of text and calls of functions."""

from collections.abc import Iterator
from itertools import count
from typing import Any

from pydantic_core import to_json

from provider_simulator.openai_tools import (
    call_id,
    must_call,
    token,
    tools_of,
)
from provider_simulator.values import (
    Answer,
    Call,
    Event,
    RefusedError,
    Request,
    ToolCall,
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
_CUT = {"length": "max_output_tokens", "content_filter": "content_filter"}
_LOGPROBS = "message.output_text.logprobs"


class ResponsesWire(OpenAIWire):
    """`/v1/responses`."""

    name = "openai_responses"

    def call(self, body: Body, request: Request) -> Call:
        """Read a request."""
        texts = _texts(body.get("input"))
        instructions = count_tokens(text_of(body.get("instructions")))
        return Call(
            model=self.model(body, request),
            of_user=tuple(texts),
            input_tokens=sum(map(count_tokens, texts)) + instructions,
            max_tokens=positive(body, "max_output_tokens"),
            stream=body.get("stream") is True,
            schema=_schema(body),
            tools=tools_of(body),
            must_call=must_call(body),
            logprobs=_logprobs(body),
        )

    def whole(self, call: Call, answer: Answer, number: int) -> object:
        """Return a `response`."""
        return _response(call, answer, number)

    def events(
        self, call: Call, answer: Answer, number: int
    ) -> Iterator[Event]:
        """Yield the events of a response, numbered."""
        whole = _response(call, answer, number)
        begun = {
            **whole,
            "status": "in_progress",
            "incomplete_details": None,
            "output": [],
            "usage": None,
        }
        numbers = count()

        def event(kind: str, tokens: int = 0, **fields: object) -> Event:
            body = {"type": kind, **fields, "sequence_number": next(numbers)}
            return Event(server_sent(body, kind), tokens)

        yield event("response.created", response=begun)
        yield event("response.in_progress", response=begun)
        for index, item in enumerate(whole["output"]):
            for kind, tokens, fields in _of_item(item, index):
                yield event(kind, tokens, **fields)
        yield event(f"response.{whole['status']}", response=whole)

    def stream_problem(self, error: RefusedError, number: int) -> Event:
        """Return an error as an event."""
        problem = mapping(self.problem(error, number))["error"]
        body = {**problem, "type": "error", "sequence_number": 0}
        return Event(server_sent({**body, "error": problem}, "error"))


_Said = tuple[str, int, dict[str, Any]]


def _of_item(item: dict[str, Any], index: int) -> Iterator[_Said]:
    place = {"item_id": item["id"], "output_index": index}
    empty: dict[str, Any]
    empty = {"content": []} if item["type"] == "message" else {"arguments": ""}
    added = {**item, **empty, "status": "in_progress"}
    yield (
        "response.output_item.added",
        0,
        {"output_index": index, "item": added},
    )
    if item["type"] == "message":
        yield from _of_text(item["content"][0], {**place, "content_index": 0})
    else:
        yield from _of_call(item["arguments"], place)
    yield "response.output_item.done", 0, {"output_index": index, "item": item}


def _of_text(part: dict[str, Any], place: dict[str, Any]) -> Iterator[_Said]:
    empty = {**part, "text": "", "logprobs": []}
    yield "response.content_part.added", 0, {**place, "part": empty}
    for at, piece in enumerate(pieces(part["text"])):
        chances = part["logprobs"][at : at + 1]
        delta = {"delta": piece, "logprobs": chances}
        yield "response.output_text.delta", 1, {**place, **delta}
    done = {"text": part["text"], "logprobs": part["logprobs"]}
    yield "response.output_text.done", 0, {**place, **done}
    yield "response.content_part.done", 0, {**place, "part": part}


def _of_call(arguments: str, place: dict[str, Any]) -> Iterator[_Said]:
    name = "response.function_call_arguments"
    for piece in pieces(arguments):
        yield f"{name}.delta", 1, {**place, "delta": piece}
    yield f"{name}.done", 0, {**place, "arguments": arguments}


def _response(call: Call, answer: Answer, number: int) -> dict[str, Any]:
    reason = _CUT.get(answer.finish)
    return {
        "id": f"resp_{number:024x}",
        "object": "response",
        "created_at": _CREATED,
        "status": "completed" if reason is None else "incomplete",
        "error": None,
        "incomplete_details": None if reason is None else {"reason": reason},
        "instructions": None,
        "metadata": {},
        "model": call.model,
        "output": list(_output(call, answer, number)),
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": _usage(answer),
    }


def _output(
    call: Call, answer: Answer, number: int
) -> Iterator[dict[str, Any]]:
    if answer.text:
        yield {
            "id": f"msg_{number:024x}",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [_part(answer.text, call.logprobs)],
        }
    for index, called in enumerate(answer.calls):
        yield _called(called, number, index)


def _part(text: str, top: int | None) -> dict[str, Any]:
    chances = []
    if top is not None:
        chances = [token(piece, top) for piece in pieces(text)]
    return {
        "type": "output_text",
        "text": text,
        "annotations": [],
        "logprobs": chances,
    }


def _called(call: ToolCall, number: int, index: int) -> dict[str, Any]:
    return {
        "id": f"fc_{number:022x}{index:02x}",
        "type": "function_call",
        "status": "completed",
        "call_id": call_id(number, index),
        "name": call.name,
        "arguments": to_json(call.arguments).decode(),
    }


def _usage(answer: Answer) -> dict[str, Any]:
    tokens = answer.tokens
    return {
        "input_tokens": tokens.input,
        "input_tokens_details": {
            "cached_tokens": tokens.cached,
            "cache_write_tokens": 0,
        },
        "output_tokens": tokens.output,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": tokens.input + tokens.output,
    }


def _texts(asked: object) -> list[str]:
    if isinstance(asked, str):
        return [asked]
    if not isinstance(asked, list) or not asked:
        raise bad_request("Missing required parameter: 'input'.")
    return [
        text_of(item.get("content") or item.get("output"))
        for item in map(mapping, asked)
    ]


def _schema(body: Body) -> Body | None:
    form = mapping(mapping(body.get("text")).get("format"))
    return (
        mapping(form.get("schema"))
        if form.get("type") == "json_schema"
        else None
    )


def _logprobs(body: Body) -> int | None:
    top, included = body.get("top_logprobs"), body.get("include")
    if isinstance(top, int):
        return top
    is_asked = isinstance(included, list) and _LOGPROBS in included
    return 0 if is_asked else None
