"""OpenAI's chat completions, and Azure's two variants of them."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from provider_simulator.azure_filters import (
    filtered_prompt,
    findings,
    prompt_findings,
)
from provider_simulator.openai_tools import (
    called,
    called_in_pieces,
    chances,
    logprobs_of,
    must_call,
    tools_of,
)
from provider_simulator.values import (
    Answer,
    Call,
    Event,
    Headers,
    RefusedError,
    Request,
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

_CREATED = 1_700_000_000
# By status: the error's type and code.
_KINDS: Mapping[int, tuple[str, str | None]] = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "unsupported_country_region_territory"),
    404: ("invalid_request_error", "model_not_found"),
    408: ("timeout", "request_timeout"),
    429: ("requests", "rate_limit_exceeded"),
}
_DONE = Event(b"data: [DONE]\n\n")


class OpenAIWire(Wire):
    """OpenAI's own."""

    name = "openai"

    def call(self, body: Body, request: Request) -> Call:
        """Read a request."""
        messages = items(body, "messages")
        texts = [text_of(message.get("content")) for message in messages]
        return Call(
            model=self.model(body, request),
            of_user=of_user(messages, texts),
            input_tokens=sum(map(count_tokens, texts)),
            max_tokens=positive(body, "max_completion_tokens", "max_tokens"),
            stream=body.get("stream") is True,
            include_usage=mapping(body.get("stream_options")).get(
                "include_usage"
            )
            is True,
            schema=_schema(body),
            tools=tools_of(body),
            must_call=must_call(body),
            logprobs=logprobs_of(body),
        )

    def model(self, body: Body, request: Request) -> str:
        """Return the model's name.

        Raises:
            RefusedError: there is none.
        """
        del request
        model = body.get("model")
        if not isinstance(model, str) or not model:
            raise bad_request("you must provide a model parameter")
        return model

    def whole(self, call: Call, answer: Answer, number: int) -> object:
        """Return a `chat.completion`."""
        message: dict[str, Any] = {
            "role": "assistant",
            "content": answer.text,
            "refusal": None,
        }
        if answer.calls:
            message["content"] = answer.text or None
            message["tool_calls"] = called(answer.calls, number)
        logprobs = None
        if call.logprobs is not None:
            logprobs = chances(answer.text, call.logprobs)
        choice = {"index": 0, "message": message, "logprobs": logprobs}
        return {
            **_head(call, "chat.completion", number),
            "choices": [{**choice, "finish_reason": answer.finish}],
            "usage": _usage(answer),
        }

    def events(
        self, call: Call, answer: Answer, number: int
    ) -> Iterator[Event]:
        """Yield `chat.completion.chunk`s and the end mark."""
        head = _head(call, "chat.completion.chunk", number)
        if call.include_usage:
            head["usage"] = None

        def chunk(delta: Body, finish: str | None = None) -> bytes:
            return server_sent(
                {**head, "choices": [self.choice(delta, finish)]}
            )

        yield Event(chunk({"role": "assistant", "content": ""}))
        if call.logprobs is None:
            yield from in_pieces(
                answer.text, lambda text: chunk({"content": text})
            )
        else:
            yield from self._likely(answer.text, call.logprobs, head)
        for delta in called_in_pieces(answer.calls, number):
            yield Event(chunk({"tool_calls": [delta]}), 1)
        yield Event(chunk({}, answer.finish))
        if call.include_usage:
            last = {**head, "choices": [], "usage": _usage(answer)}
            yield Event(server_sent(last))
        yield _DONE

    def _likely(self, text: str, top: int, head: Body) -> Iterator[Event]:
        for piece in pieces(text):
            choice = self.choice({"content": piece}, None)
            choice["logprobs"] = chances(piece, top)
            yield Event(server_sent({**head, "choices": [choice]}), 1)

    def choice(self, delta: Body, finish: str | None) -> dict[str, Any]:
        """Return the one choice of a chunk."""
        return {
            "index": 0,
            "delta": delta,
            "logprobs": None,
            "finish_reason": finish,
        }

    def problem(self, error: RefusedError, number: int) -> object:
        """Return an error object."""
        del number
        kind, code = _KINDS.get(error.status, ("server_error", None))
        if error.reason == "prompt_filter":
            code = "content_policy_violation"
        return {
            "error": {
                "message": error.message,
                "type": kind,
                "param": None,
                "code": code,
            }
        }

    def stream_problem(self, error: RefusedError, number: int) -> Event:
        """Return an error as an event."""
        return Event(server_sent(self.problem(error, number)))

    def headers(self, number: int) -> Headers:
        """Return the request's id, and what else OpenAI sends."""
        return (
            ("x-request-id", f"req_{number:032x}"),
            ("openai-version", "2020-10-01"),
            ("openai-processing-ms", "1"),
        )

    def limit_headers(
        self, limit: int, remaining: int, seconds: float
    ) -> Headers:
        """Return the `x-ratelimit-*` headers."""
        return (
            ("x-ratelimit-limit-requests", str(limit)),
            ("x-ratelimit-remaining-requests", str(remaining)),
            ("x-ratelimit-reset-requests", f"{seconds:.3f}s"),
        )

    def retry_headers(self, seconds: float) -> Headers:
        """Say it in milliseconds as well."""
        return (
            *super().retry_headers(seconds),
            ("retry-after-ms", str(round(seconds * 1000))),
        )


class AzureInferenceWire(OpenAIWire):
    """Azure AI Inference: errors have a code and a message only."""

    name = "azure_inference"
    codes: ClassVar[Mapping[int, str]] = {
        400: "BadRequest",
        401: "401",
        403: "Forbidden",
        404: "DeploymentNotFound",
        408: "Timeout",
        429: "429",
        500: "InternalServerError",
        503: "ServiceUnavailable",
    }

    def model(self, body: Body, request: Request) -> str:
        """Return the model's name; an endpoint may serve just one."""
        del request
        model = body.get("model")
        return model if isinstance(model, str) else "default"

    def problem(self, error: RefusedError, number: int) -> object:
        """Return an error object."""
        del number
        if error.reason == "prompt_filter":
            return {"error": filtered_prompt(error)}
        code = self.codes.get(error.status, str(error.status))
        return {"error": {"code": code, "message": error.message}}

    def headers(self, number: int) -> Headers:
        """Return the request's ids."""
        return (
            ("x-request-id", f"{number:032x}"),
            ("apim-request-id", f"{number:032x}"),
            ("x-ms-region", "Simulated"),
        )


class AzureOpenAIWire(AzureInferenceWire):
    """Azure OpenAI: the deployment is in the path, filters report."""

    name = "azure_openai"

    def model(self, body: Body, request: Request) -> str:
        """Return the deployment; calls must name the API's version."""
        del body
        if request.parameter("api-version") is None:
            raise RefusedError(404, "not_found", "Resource not found")
        return request.path.split("/")[3]

    def whole(self, call: Call, answer: Answer, number: int) -> object:
        """Return a `chat.completion` with the filters' findings."""
        body: dict[str, Any] = {**mapping(super().whole(call, answer, number))}
        body["prompt_filter_results"] = prompt_findings()
        body["choices"][0]["content_filter_results"] = findings(
            filtered=answer.finish == "content_filter"
        )
        return body

    def events(
        self, call: Call, answer: Answer, number: int
    ) -> Iterator[Event]:
        """Yield chunks; the first is about the prompt, without a choice."""
        head = {
            **_head(call, "chat.completion.chunk", number),
            "choices": [],
            "prompt_filter_results": prompt_findings(),
        }
        yield Event(server_sent(head))
        yield from super().events(call, answer, number)

    def choice(self, delta: Body, finish: str | None) -> dict[str, Any]:
        """Return the one choice of a chunk, with the filters' findings."""
        found = findings(filtered=finish == "content_filter")
        return {
            **super().choice(delta, finish),
            "content_filter_results": found,
        }


def _head(call: Call, kind: str, number: int) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{number:024x}",
        "object": kind,
        # Answers do not depend on when they are given.
        "created": _CREATED,
        "model": call.model,
        "system_fingerprint": "fp_simulator",
    }


def _usage(answer: Answer) -> dict[str, Any]:
    tokens = answer.tokens
    return {
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.input + tokens.output,
        "prompt_tokens_details": {
            "cached_tokens": tokens.cached,
            "audio_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": tokens.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _schema(body: Body) -> Body | None:
    form = mapping(body.get("response_format"))
    if form.get("type") != "json_schema":
        return None
    return mapping(mapping(form.get("json_schema")).get("schema"))
