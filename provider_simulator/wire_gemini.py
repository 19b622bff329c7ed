"""Gemini's `generateContent` and `streamGenerateContent`."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic_core import to_json

from provider_simulator.values import (
    Answer,
    Call,
    Event,
    Headers,
    RefusedError,
    Reply,
    Request,
    Tool,
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
    "stop": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
    "tool_calls": "STOP",
}
_TYPES = "type.googleapis.com/google.rpc"
# Between the elements of a stream that is an array.
_COMMA = b",\n"
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
        system = mapping(_either(body, "systemInstruction"))
        config = mapping(_either(body, "generationConfig"))
        model, _, method = request.path.rpartition("/")[2].partition(":")
        return Call(
            model=model,
            of_user=of_user(contents, texts),
            input_tokens=sum(map(count_tokens, texts))
            + count_tokens(text_of(system.get("parts"))),
            max_tokens=positive(config, "maxOutputTokens"),
            stream=method == "streamGenerateContent",
            server_sent=request.parameter("alt") == "sse",
            schema=_schema(config),
            tools=_tools(body),
            must_call=_must_call(body),
        )

    def reply(self, call: Call, answer: Answer) -> Reply:
        """Give an answer the vendor's form."""
        reply = super().reply(call, answer)
        if isinstance(reply.body, bytes) or call.server_sent:
            return reply
        return Reply(reply.body, headers=reply.headers)

    def whole(self, call: Call, answer: Answer, number: int) -> object:
        """Return a `GenerateContentResponse`."""
        body = _response(call, answer, number, answer.text, _finish(answer))
        return _with_calls(body, answer)

    def events(
        self, call: Call, answer: Answer, number: int
    ) -> Iterator[Event]:
        """Yield responses with a piece each; the last has the end."""
        form: Callable[[object], bytes] = server_sent
        end = b""
        if not call.server_sent:
            form, end = _element, b"]"
            yield Event(b"[")

        def response(text: str, finish: str | None = None) -> bytes:
            return form(_response(call, answer, number, text, finish))

        # It ends with its last piece: there is no end mark.
        last = (pieces(answer.text) or [""])[-1]
        before = answer.text[: len(answer.text) - len(last)]
        yield from in_pieces(before, response)
        body = _response(call, answer, number, last, _finish(answer))
        finish = form(_with_calls(body, answer)).removesuffix(_COMMA)
        yield Event(finish + end, 1)

    def problem(self, error: RefusedError, number: int) -> object:
        """Return an error object."""
        del number
        status = self.status(error)
        body: dict[str, Any] = {
            "code": status,
            "message": error.message,
            "status": _KINDS.get(status, "UNKNOWN"),
        }
        if details := list(_details(error)):
            body["details"] = details
        return {"error": body}

    def refusal(self, error: RefusedError, request: Request) -> Reply:
        """Give an error the vendor's form; a refused prompt is none."""
        if error.reason != "prompt_filter":
            return super().refusal(error, request)
        body = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}
        if request.parameter("alt") != "sse":
            return Reply(to_json(body))
        return Reply(server_sent(body), content_type=self.stream_type)

    def status(self, error: RefusedError) -> int:
        """Return the status; a wrong key is a wrong argument."""
        return 400 if error.reason == "unauthorized" else error.status

    def stream_problem(self, error: RefusedError, number: int) -> Event:
        """Return an error as an event."""
        return Event(server_sent(self.problem(error, number)))

    def headers(self, number: int) -> Headers:
        """Return what Gemini sends; its id is in the body."""
        del number
        return (("x-gemini-service-tier", "standard"),)


def _details(error: RefusedError) -> Iterator[dict[str, str]]:
    if error.retry_after is not None:
        yield {
            "@type": f"{_TYPES}.RetryInfo",
            "retryDelay": f"{error.retry_after:g}s",
        }
    if error.reason == "unauthorized":
        yield {
            "@type": f"{_TYPES}.ErrorInfo",
            "reason": "API_KEY_INVALID",
            "domain": "googleapis.com",
        }


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


def _with_calls(body: dict[str, Any], answer: Answer) -> dict[str, Any]:
    if answer.calls:
        content = body["candidates"][0].setdefault(
            "content", {"parts": [], "role": "model"}
        )
        content["parts"] += [
            {"functionCall": {"name": call.name, "args": call.arguments}}
            for call in answer.calls
        ]
    return body


def _tools(body: Body) -> tuple[Tool, ...]:
    found = []
    tools = body.get("tools")
    for tool in map(mapping, tools if isinstance(tools, list) else ()):
        declared = _either(tool, "functionDeclarations")
        for function in declared if isinstance(declared, list) else ():
            named = mapping(function)
            schema = _either(named, "parametersJsonSchema") or named.get(
                "parameters"
            )
            found.append(Tool(str(named.get("name")), mapping(schema)))
    return tuple(found)


def _must_call(body: Body) -> str | None:
    config = mapping(_either(body, "toolConfig"))
    calling = mapping(_either(config, "functionCallingConfig"))
    if calling.get("mode") != "ANY":
        return None
    names = _either(calling, "allowedFunctionNames")
    return str(names[0]) if isinstance(names, list) and names else ""


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


def _element(data: object) -> bytes:
    return to_json(data) + _COMMA


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
