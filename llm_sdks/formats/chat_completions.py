"""OpenAI's format of chat completions, which others speak as well."""

from collections.abc import Mapping
from typing import Any

from llm_sdks.base_sdk import CompletionRequest, Usage
from llm_sdks.formats import openai_request
from llm_sdks.formats.reading import (
    Endings,
    Part,
    count,
    section,
    text_of,
    word_of,
)
from llm_sdks.profiles.profile import Profile
from llm_sdks.provider_sdk import ProviderSDK
from llm_sdks.wires.wire import Json


class ChatCompletionsSDK(ProviderSDK):
    """Speaks `POST .../chat/completions`."""

    endings = Endings(frozenset({"length"}), frozenset({"content_filter"}))

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


def _part(answer: Any, choice: Any, message: Any) -> Part:  # noqa: ANN401 - a provider's JSON
    return Part(
        text_of(message.get("content")),
        section(answer, "usage"),
        word_of(choice.get("finish_reason")),
        refusal=text_of(message.get("refusal")),
    )
