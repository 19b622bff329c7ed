"""Gemini's `generateContent` and `streamGenerateContent`."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic_core import to_json

from utilities.provider_simulator.values import (
    Answer,
    Call,
    Event,
    Headers,
    RefusedError,
    Reply,
    Request,
    count_tokens,
    pieces,
)
from utilities.provider_simulator.wire import (
    Body,
    Wire,
    items,
    mapping,
    positive,
    server_sent,
    text_of,
)

_FINISH = {
    "stop": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
}
_KINDS: Mapping[int, str] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}


class GeminiWire(Wire):
    """The model and the method are in the path."""

    name = "gemini"

    def call(self, body: Body, request: Request) -> Call:
        """Read a request."""
        contents = items(body, "contents")
        texts = [text_of(content.get("parts")) for content in contents]
        # A content without a role is the user's.
        of_user = [
            text
            for content, text in zip(contents, texts, strict=True)
            if content.get("role", "user") == "user"
        ]
        system = mapping(_either(body, "systemInstruction"))
        config = mapping(_either(body, "generationConfig"))
        model, _, method = request.path.rpartition("/")[2].partition(":")
        return Call(
            model=model,
            text=of_user[-1] if of_user else "",
            input_tokens=sum(map(count_tokens, texts))
            + count_tokens(text_of(system.get("parts"))),
            max_tokens=positive(config, "maxOutputTokens"),
            stream=method == "streamGenerateContent",
            # Its stream without server-sent events is one JSON array.
            include_usage=request.parameter("alt") == "sse",
            schema=_schema(config),
        )

    def reply(self, call: Call, answer: Answer) -> Reply:
        """Give an answer the vendor's form."""
        reply = super().reply(call, answer)
        if isinstance(reply.body, bytes) or call.include_usage:
            return reply
        return Reply(reply.body, headers=reply.headers)

    def whole(self, call: Call, answer: Answer, number: int) -> object:
        """Return a `GenerateContentResponse`."""
        return _response(call, answer, number, answer.text, _finish(answer))

    def events(
        self, call: Call, answer: Answer, number: int
    ) -> Iterator[Event]:
        """Yield responses with a piece each; the last has the end."""
        parts = pieces(answer.text) or [""]
        # It ends with its last piece: there is no end mark.
        ends = [None] * (len(parts) - 1) + [_finish(answer)]
        opening = b"["
        for part, finish in zip(parts, ends, strict=True):
            data = _response(call, answer, number, part, finish)
            if call.include_usage:
                yield Event(server_sent(data), 1)
            else:
                yield Event(opening + to_json(data) + b"\n", 1)
            opening = b","
        if not call.include_usage:
            yield Event(b"]")

    def problem(self, error: RefusedError, number: int) -> object:
        """Return an error object."""
        del number
        kind = _KINDS.get(error.status, "UNKNOWN")
        body: dict[str, Any] = {
            "code": error.status,
            "message": error.message,
            "status": kind,
        }
        if error.retry_after is not None:
            body["details"] = [
                {
                    "@type": "type.googleapis.com/google.rpc.RetryInfo",
                    "retryDelay": f"{error.retry_after:g}s",
                }
            ]
        return {"error": body}

    def refusal(self, error: RefusedError) -> Reply:
        """Give an error the vendor's form; a refused prompt is none."""
        if error.reason == "prompt_filter":
            feedback = {"blockReason": "PROHIBITED_CONTENT"}
            return Reply(to_json({"promptFeedback": feedback}))
        return super().refusal(error)

    def stream_problem(self, error: RefusedError, number: int) -> Event:
        """Return an error as an event."""
        return Event(server_sent(self.problem(error, number)))

    def headers(self, number: int) -> Headers:
        """Return what Gemini sends; its id is in the body."""
        del number
        return (("x-gemini-service-tier", "standard"),)


def _response(
    call: Call, answer: Answer, number: int, text: str, finish: str | None
) -> dict[str, Any]:
    candidate: dict[str, Any] = {"index": 0}
    if text:
        candidate["content"] = {"parts": [{"text": text}], "role": "model"}
    if finish is not None:
        candidate["finishReason"] = finish
    return {
        "candidates": [candidate],
        "usageMetadata": _usage(answer),
        "modelVersion": call.model,
        "responseId": f"{number:022x}",
    }


def _usage(answer: Answer) -> dict[str, Any]:
    tokens = answer.tokens
    usage = {
        "promptTokenCount": tokens.input,
        # Here, thoughts are not counted again.
        "candidatesTokenCount": max(tokens.output - tokens.reasoning, 0),
        "totalTokenCount": tokens.input + tokens.output,
    }
    if tokens.cached:
        usage["cachedContentTokenCount"] = tokens.cached
    if tokens.reasoning:
        usage["thoughtsTokenCount"] = tokens.reasoning
    return usage


def _finish(answer: Answer) -> str:
    return _FINISH.get(answer.finish, answer.finish)


def _schema(config: Body) -> Body | None:
    for name in ("responseSchema", "responseJsonSchema"):
        schema = _either(config, name)
        if isinstance(schema, Mapping):
            return schema
    return None


def _either(body: Body, name: str) -> object:
    """Return a field by its name in JSON, or in Protocol Buffers' style."""
    if name in body:
        return body[name]
    snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
    return body.get(snake)
