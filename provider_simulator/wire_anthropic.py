"""Anthropic's messages."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic_core import to_json

from provider_simulator.values import (
    Answer,
    Call,
    Event,
    Headers,
    RefusedError,
    Request,
    Tool,
    bad_request,
    count_tokens,
    pieces,
)
from provider_simulator.wire import (
    Body,
    Wire,
    in_pieces,
    items,
    mapping,
    of_user,
    positive,
    server_sent,
    text_of,
)

_FINISH = {
    "stop": "end_turn",
    "length": "max_tokens",
    "content_filter": "refusal",
    "tool_calls": "tool_use",
}
_KINDS: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
_OVERLOADED = 529


class AnthropicWire(Wire):
    """`/v1/messages`."""

    name = "anthropic"
    charges_cache_writes = True

    def call(self, body: Body, request: Request) -> Call:
        """Read a request; `max_tokens` must be there."""
        del request
        model = body.get("model")
        if not isinstance(model, str) or not model:
            raise bad_request("model: Field required")
        limit = positive(body, "max_tokens")
        if limit is None:
            raise bad_request("max_tokens: Field required")
        messages = items(body, "messages")
        texts = [text_of(message.get("content")) for message in messages]
        system = count_tokens(text_of(body.get("system")))
        return Call(
            model=model,
            of_user=of_user(messages, texts),
            input_tokens=sum(map(count_tokens, texts)) + system,
            max_tokens=limit,
            stream=body.get("stream") is True,
            schema=_schema(body),
            tools=_tools(body),
            must_call=_must_call(body),
        )

    def whole(self, call: Call, answer: Answer, number: int) -> object:
        """Return a `message`."""
        content: list[dict[str, Any]] = []
        if answer.text:
            content.append({"type": "text", "text": answer.text})
        content += _called(answer, number)
        return {
            **_head(call, number),
            "content": content,
            "stop_reason": _finish(answer),
            "stop_sequence": None,
            "usage": _usage(answer, answer.tokens.output),
        }

    def events(
        self, call: Call, answer: Answer, number: int
    ) -> Iterator[Event]:
        """Yield the events of one message with one block of text."""
        start = {
            **_head(call, number),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": _usage(answer, 1),
        }
        yield _event("message_start", message=start)
        if answer.text:
            yield from _block(answer.text)
        for index, used in enumerate(_called(answer, number)):
            yield from _call_block(index + bool(answer.text), used)
        end = {"stop_reason": _finish(answer), "stop_sequence": None}
        usage = _usage(answer, answer.tokens.output)
        del usage["service_tier"]
        yield _event("message_delta", delta=end, usage=usage)
        yield _event("message_stop")

    def problem(self, error: RefusedError, number: int) -> object:
        """Return an error object."""
        kind = _KINDS.get(self.status(error), "api_error")
        return {
            "type": "error",
            "error": {"type": kind, "message": error.message},
            "request_id": _request_id(number),
        }

    def stream_problem(self, error: RefusedError, number: int) -> Event:
        """Return an `error` event."""
        return Event(server_sent(self.problem(error, number), "error"))

    def status(self, error: RefusedError) -> int:
        """Return the status; overload has one of its own."""
        overloaded = error.reason == "overloaded"
        return _OVERLOADED if overloaded else error.status

    def headers(self, number: int) -> Headers:
        """Return the request's id."""
        return (
            ("request-id", _request_id(number)),
            ("anthropic-organization-id", "simulator"),
        )

    def limit_headers(
        self, limit: int, remaining: int, seconds: float
    ) -> Headers:
        """Return the `anthropic-ratelimit-*` headers."""
        del seconds
        return (
            ("anthropic-ratelimit-requests-limit", str(limit)),
            ("anthropic-ratelimit-requests-remaining", str(remaining)),
        )


def _event(kind: str, **fields: object) -> Event:
    return Event(server_sent({"type": kind, **fields}, kind))


def _block(text: str) -> Iterator[Event]:
    empty = {"type": "text", "text": ""}
    yield _event("content_block_start", index=0, content_block=empty)
    yield _event("ping")
    yield from in_pieces(text, _delta)
    yield _event("content_block_stop", index=0)


def _called(answer: Answer, number: int) -> list[dict[str, Any]]:
    return [
        {
            "type": "tool_use",
            "id": f"toolu_{number:020x}{index:02x}",
            "name": call.name,
            "input": call.arguments,
        }
        for index, call in enumerate(answer.calls)
    ]


def _call_block(index: int, used: Body) -> Iterator[Event]:
    start = {**used, "input": {}}
    yield _event("content_block_start", index=index, content_block=start)
    # Begun with nothing, as Anthropic's own.
    for piece in ("", *pieces(to_json(used["input"]).decode())):
        delta = {"type": "input_json_delta", "partial_json": piece}
        yield _event("content_block_delta", index=index, delta=delta)
    yield _event("content_block_stop", index=index)


def _tools(body: Body) -> tuple[Tool, ...]:
    tools = body.get("tools")
    return tuple(
        Tool(str(tool.get("name")), mapping(tool.get("input_schema")))
        for tool in map(mapping, tools if isinstance(tools, list) else ())
    )


def _must_call(body: Body) -> str | None:
    choice = mapping(body.get("tool_choice"))
    if choice.get("type") == "any":
        return ""
    return str(choice.get("name")) if choice.get("type") == "tool" else None


def _delta(text: str) -> bytes:
    delta = {"type": "text_delta", "text": text}
    return _event("content_block_delta", index=0, delta=delta).data


def _head(call: Call, number: int) -> dict[str, Any]:
    return {
        "id": f"msg_{number:024x}",
        "type": "message",
        "role": "assistant",
        "model": call.model,
    }


def _usage(answer: Answer, output: int) -> dict[str, Any]:
    tokens = answer.tokens
    return {
        # Here, what was read from the cache is not counted again.
        "input_tokens": max(
            tokens.input - tokens.cached - tokens.cache_write, 0
        ),
        "cache_creation_input_tokens": tokens.cache_write,
        "cache_read_input_tokens": tokens.cached,
        "output_tokens": output,
        "output_tokens_details": {
            "thinking_tokens": min(tokens.reasoning, output)
        },
        "service_tier": "standard",
    }


def _finish(answer: Answer) -> str:
    return _FINISH.get(answer.finish, answer.finish)


def _schema(body: Body) -> Body | None:
    form = mapping(mapping(body.get("output_config")).get("format"))
    # The older name, from before it was generally available.
    form = form or mapping(body.get("output_format"))
    if form.get("type") != "json_schema":
        return None
    return mapping(form.get("schema"))


def _request_id(number: int) -> str:
    return f"req_{number:024x}"
