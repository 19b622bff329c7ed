"""`Anthropic`: the Messages interface."""

from collections.abc import Mapping
from typing import Any, ClassVar

from llm_sdks.base_sdk import CompletionRequest, LLMConfig, Usage
from llm_sdks.formats import anthropic_request, settings
from llm_sdks.formats.anthropic_events import MessageEvents
from llm_sdks.formats.endings import reason_of
from llm_sdks.formats.reading import (
    Part,
    count,
    items_of,
    section,
    text_of,
    tool,
    word_of,
)
from llm_sdks.formats.typed_events import Typed
from llm_sdks.forwarding import Interface
from llm_sdks.passing import Origin
from llm_sdks.profiles.profile import Profile
from llm_sdks.provider_sdk import ProviderSDK
from llm_sdks.wires.wire import Json

settings.require("anthropic", "aiohttp", install="anthropic[aiohttp]")


class AnthropicSDK(ProviderSDK):
    """Messages; without an `endpoint`, Anthropic's own."""

    usual_key_variable = "ANTHROPIC_API_KEY"
    client_module = "llm_sdks.wires.anthropic_client"
    origin = Origin(
        "x-api-key",
        url="https://api.anthropic.com",
        variable="ANTHROPIC_BASE_URL",
    )
    profile = anthropic_request.PROFILE
    interfaces: ClassVar[Mapping[Interface, str]] = {
        Interface.MESSAGES: "/v1/messages",
        Interface.COUNT_TOKENS: "/v1/messages/count_tokens",
    }
    answer_name = "message"

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
        content = answer["content"]
        return Part(
            text_of(content),
            section(answer, "usage"),
            reason_of(answer.get("stop_reason")),
            tools=[
                tool(block.get("name"), block.get("input"))
                for block in items_of(content)
                if section(block).get("type") == "tool_use"
            ],
            thoughts="".join(
                word_of(section(block).get("thinking")) or ""
                for block in items_of(content)
            ),
        )

    def part(self, event: Any) -> Part:  # noqa: ANN401 - a provider's JSON
        """Read one event of a stream, or a whole answer in its place."""
        match section(event).get("type"):
            case "message_start":
                return Part(counts=section(section(event, "message"), "usage"))
            case "content_block_start":
                return _started(section(event, "content_block"))
            case "content_block_delta":
                return _continued(section(event, "delta"))
            case "message_delta":
                return Part(
                    counts=section(event, "usage"),
                    finish_reason=reason_of(
                        section(event, "delta").get("stop_reason")
                    ),
                )
            case "message" if "content" in event:
                return self.whole(event)
            case _:
                return Part()

    def typed(self) -> Typed:
        """Give what reads the events of one answer."""
        return MessageEvents()

    def usage(self, counts: Mapping[str, Any]) -> Usage:
        """Add what was cached, which Anthropic counts beside the input."""
        cached = count(counts, "cache_read_input_tokens")
        written = count(counts, "cache_creation_input_tokens")
        details = section(counts, "output_tokens_details")
        return Usage(
            count(counts, "input_tokens") + cached + written,
            count(counts, "output_tokens"),
            cached,
            count(details, "thinking_tokens"),
            written,
        )


def _started(block: Mapping[str, Any]) -> Part:
    # Some servers put the first words here.
    if block.get("type") == "tool_use":
        return Part(tools=[tool(block.get("name"), block.get("input") or "")])
    return Part(text_of(block))


def _continued(delta: Mapping[str, Any]) -> Part:
    match delta.get("type"):
        case "text_delta":
            return Part(text_of(delta.get("text")))
        case "input_json_delta":
            return Part(tools=[tool("", delta.get("partial_json"))])
        case "thinking_delta":
            return Part(thoughts=word_of(delta.get("thinking")) or "")
        case _:
            return Part()
