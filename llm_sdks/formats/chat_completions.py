"""OpenAI's format of chat completions, which others speak as well."""

from collections.abc import Mapping
from typing import Any

from llm_sdks.base_sdk import CompletionRequest, LLMConfig, Usage
from llm_sdks.formats import schemas
from llm_sdks.formats.reading import (
    Endings,
    Part,
    count,
    section,
    text_of,
    word_of,
)
from llm_sdks.provider_sdk import ProviderSDK
from llm_sdks.wires.wire import Json


class ChatCompletionsSDK(ProviderSDK):
    """Speaks `POST .../chat/completions`."""

    endings = Endings(frozenset({"length"}), frozenset({"content_filter"}))

    def body(
        self, request: CompletionRequest, temperature: float | None
    ) -> Json:
        """Give a call's body; a temperature of None is left out."""
        body: Json = {
            "model": request.config.provider_model,
            "messages": _messages(request),
            **_token_limit(request.config),
        }
        if temperature is not None:
            body["temperature"] = temperature
        if request.response_schema is not None:
            body["response_format"] = _format(request.response_schema)
        return body

    def streaming_body(
        self, request: CompletionRequest, temperature: float | None
    ) -> Json:
        """Ask for a stream, and for its usage."""
        return {
            **super().streaming_body(request, temperature),
            "stream_options": {"include_usage": True},
        }

    def whole(self, answer: Any) -> Part:  # noqa: ANN401 - a provider's JSON
        """Read a whole answer."""
        choice = answer["choices"][0]
        return _part(answer, choice, choice["message"])

    def part(self, event: Any) -> Part:  # noqa: ANN401 - a provider's JSON
        """Read one event of a stream."""
        choices = event["choices"]
        if not choices:
            # The first may tell what the filter thinks, the last the usage.
            counts = section(event, "usage")
            return Part(counts=counts, ended=bool(counts))
        return _part(event, choices[0], choices[0]["delta"])

    def usage(self, counts: Mapping[str, Any]) -> Usage:
        """Bring the provider's own counts into our definition."""
        asked = section(counts, "prompt_tokens_details")
        said = section(counts, "completion_tokens_details")
        return Usage(
            count(counts, "prompt_tokens"),
            count(counts, "completion_tokens"),
            count(asked, "cached_tokens"),
            count(said, "reasoning_tokens"),
        )


def _messages(request: CompletionRequest) -> list[Json]:
    user = {"role": "user", "content": request.user}
    if not request.system:
        return [user]
    return [{"role": "system", "content": request.system}, user]


def _token_limit(config: LLMConfig) -> Json:
    if config.max_completion_token is not None:
        return {"max_completion_tokens": config.max_completion_token}
    if config.max_token is not None:
        return {"max_tokens": config.max_token}
    return {}


def _format(schema: Mapping[str, Any]) -> Json:
    return {
        "type": "json_schema",
        "json_schema": {
            "name": schemas.name_of(schema),
            "schema": schema,
            "strict": schemas.is_strict(schema),
        },
    }


def _part(answer: Any, choice: Any, message: Any) -> Part:  # noqa: ANN401 - a provider's JSON
    return Part(
        text_of(message.get("content")),
        section(answer, "usage"),
        word_of(choice.get("finish_reason")),
        refusal=text_of(message.get("refusal")),
    )
