"""`Anthropic`: the Messages interface."""

from collections.abc import Mapping
from typing import Any

from llm_sdks.base_sdk import CompletionRequest, LLMConfig, Usage
from llm_sdks.formats import anthropic_request, settings
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

settings.require("anthropic", "aiohttp", install="anthropic[aiohttp]")


class AnthropicSDK(ProviderSDK):
    """Messages; without an `endpoint`, Anthropic's own."""

    usual_key_variable = "ANTHROPIC_API_KEY"
    client_module = "llm_sdks.wires.anthropic_client"
    profile = anthropic_request.PROFILE
    answer_name = "message"
    endings = Endings(
        frozenset({"max_tokens", "model_context_window_exceeded"}),
        frozenset({"refusal"}),
    )

    @classmethod
    def get_name(cls) -> str:
        """Return `Anthropic`."""
        return "Anthropic"

    def validate_config(self, config: LLMConfig) -> None:
        """Check the key, the endpoint and the limit of tokens."""
        settings.check_key(config)
        settings.check_endpoint(config, "https://api.anthropic.com")
        settings.need_token_limit(config)

    def body(self, request: CompletionRequest, profile: Profile) -> Json:
        """Give a call's body."""
        return anthropic_request.render(request, profile)

    def whole(self, answer: Any) -> Part:  # noqa: ANN401 - a provider's JSON
        """Read a whole answer; what the model thought is left out."""
        texts = [
            text_of(block.get("text"))
            for block in answer["content"]
            if block.get("type") == "text"
        ]
        return Part(
            "".join(texts),
            section(answer, "usage"),
            word_of(answer.get("stop_reason")),
        )

    def part(self, event: Any) -> Part:  # noqa: ANN401 - a provider's JSON
        """Read one event of a stream."""
        delta = section(event, "delta")
        match event["type"]:
            case "message_start":
                return Part(counts=section(event["message"], "usage"))
            case "content_block_delta" if delta["type"] == "text_delta":
                return Part(text_of(delta["text"]))
            case "message_delta":
                return Part(
                    counts=_known(section(event, "usage")),
                    finish_reason=word_of(delta.get("stop_reason")),
                )
            case _:
                return Part()

    def usage(self, counts: Mapping[str, Any]) -> Usage:
        """Add what was cached, which Anthropic counts beside the input."""
        cached = count(counts, "cache_read_input_tokens")
        kept = count(counts, "cache_creation_input_tokens")
        details = section(counts, "output_tokens_details")
        return Usage(
            count(counts, "input_tokens") + cached + kept,
            count(counts, "output_tokens"),
            cached,
            count(details, "thinking_tokens"),
        )


def _known(counts: Mapping[str, Any]) -> Json:
    # The last event may leave open (null) what the first one told.
    return {name: n for name, n in counts.items() if n is not None}
