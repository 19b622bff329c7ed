"""OpenAI's format of chat completions, which others speak as well."""

from collections.abc import Mapping, Sequence
from typing import Any

from llm_sdks.base_sdk import CompletionRequest, Usage
from llm_sdks.formats import openai_request
from llm_sdks.formats.embeddings import OpenAIEmbeddings
from llm_sdks.formats.endings import reason_of
from llm_sdks.formats.openai_chat_events import ChatEvents
from llm_sdks.formats.reading import (
    Part,
    count,
    items_of,
    number_of,
    section,
    text_of,
    tool,
)
from llm_sdks.formats.typed_events import Typed
from llm_sdks.profiles.profile import Profile
from llm_sdks.provider_sdk import ProviderSDK
from llm_sdks.wires.wire import Json

_NO_TOOLS: Sequence[tuple[str, str]] = ()


class ChatCompletionsSDK(ProviderSDK):
    """Speaks `POST .../chat/completions`, and `.../embeddings`."""

    embeddings = OpenAIEmbeddings()

    def body(self, request: CompletionRequest, profile: Profile) -> Json:
        """Give a call's body."""
        return openai_request.render(request, profile)

    def streaming_body(
        self, request: CompletionRequest, profile: Profile
    ) -> Json:
        """Ask for a stream and, where the model knows that, for its usage."""
        body = super().streaming_body(request, profile)
        if profile.supports_stream_usage:
            body["stream_options"] = {"include_usage": True}
        return body

    def whole(self, answer: Any) -> Part:  # noqa: ANN401 - a provider's JSON
        """Read a whole answer."""
        choice = answer["choices"][0]
        message = choice.get("message")
        if message is None:
            # Of a stream that was not asked for, or of older interfaces.
            message = choice.get("delta") or {"content": choice["text"]}
        return _part(answer, choice, message)

    def part(self, event: Any) -> Part:  # noqa: ANN401 - a provider's JSON
        """Read one event of a stream, or a whole answer in its place."""
        choices = items_of(section(event).get("choices"))
        if not choices:
            # The first may tell what the filter thinks, the last the usage.
            counts = _counts(event, {})
            return Part(counts=counts, ended=bool(counts))
        choice = section(choices[0])
        message = section(choice, "delta") or section(choice, "message")
        if not message and "text" in choice:
            message = {"content": choice["text"]}
        return _part(event, choice, message)

    def typed(self) -> Typed:
        """Give what reads the events of one answer."""
        return ChatEvents()

    def usage(self, counts: Mapping[str, Any]) -> Usage:
        """Bring the provider's own counts into our definition.

        Some servers count reasoning beside the output, or cached tokens
        beside the input; the sum shows it, or a part that exceeds the
        whole.
        """
        asked = section(counts, "prompt_tokens_details")
        said = section(counts, "completion_tokens_details")
        prompt = count(counts, "prompt_tokens", "input_tokens")
        output = count(counts, "completion_tokens", "output_tokens")
        cached = count(asked, "cached_tokens") or count(
            counts, "cached_tokens", "prompt_cache_hit_tokens"
        )
        written = count(
            asked, "cache_write_tokens", "cache_creation_tokens"
        ) or count(counts, "cache_creation_input_tokens")
        thought = count(said, "reasoning_tokens") or count(
            counts, "reasoning_tokens"
        )
        total = number_of(counts.get("total_tokens"))
        if thought > output or total == prompt + output + thought:
            output += thought
        if cached > prompt:
            prompt += cached
        return Usage(prompt, output, cached, thought, written)


def _part(
    answer: Mapping[str, Any],
    choice: Mapping[str, Any],
    message: Mapping[str, Any],
) -> Part:
    return Part(
        text_of(message.get("content")),
        _counts(answer, choice),
        reason_of(choice.get("finish_reason")),
        refusal=text_of(message.get("refusal")),
        tools=_tools(message),
        problem=choice.get("error") or message.get("error"),
        thoughts=_thoughts(message),
    )


def _thoughts(message: Mapping[str, Any]) -> str:
    for name in ("reasoning_content", "reasoning"):
        thought = message.get(name)
        if thought and isinstance(thought, str):
            return thought
    return ""


def _counts(
    answer: Mapping[str, Any], choice: Mapping[str, Any]
) -> Mapping[str, Any]:
    # Moonshot's streams have it in the choice, Groq's in a part of its own.
    return (
        section(answer, "usage")
        or section(choice, "usage")
        or section(section(answer, "x_groq"), "usage")
    )


def _tools(message: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    calls = items_of(message.get("tool_calls"))
    if not calls and not message.get("function_call"):
        return _NO_TOOLS
    functions = [section(call, "function") for call in calls]
    functions.append(section(message, "function_call"))
    return [
        tool(function.get("name"), function.get("arguments"))
        for function in functions
        if function
    ]
