"""`Gemini`: Google's Gemini interface, by API key."""

from collections.abc import Mapping, Sequence
from typing import Any

from llm_sdks.base_sdk import CompletionRequest, LLMConfig, Usage
from llm_sdks.formats import gemini_request, settings
from llm_sdks.formats.embeddings import GeminiEmbeddings
from llm_sdks.formats.endings import reason_of
from llm_sdks.formats.gemini_events import ContentEvents
from llm_sdks.formats.reading import (
    Part,
    count,
    items_of,
    number_of,
    section,
    text_of,
    tool,
    word_of,
)
from llm_sdks.formats.typed_events import Typed
from llm_sdks.passing import Origin
from llm_sdks.profiles.profile import Profile
from llm_sdks.provider_sdk import ProviderSDK
from llm_sdks.wires.wire import Json

settings.require("google.genai", "aiohttp", install="google-genai[aiohttp]")


class GeminiSDK(ProviderSDK):
    """Generated content; without an `endpoint`, Google's own."""

    usual_key_variable = "GEMINI_API_KEY"
    client_module = "llm_sdks.wires.gemini_client"
    origin = Origin(
        "x-goog-api-key",
        url="https://generativelanguage.googleapis.com",
        variable="GOOGLE_GEMINI_BASE_URL",
    )
    profile = gemini_request.PROFILE
    answer_name = "generated content"
    embeddings = GeminiEmbeddings()

    @classmethod
    def get_name(cls) -> str:
        """Return `Gemini`."""
        return "Gemini"

    def validate_config(self, config: LLMConfig) -> None:
        """Check the key and the form of the endpoint."""
        settings.check_key(config)
        settings.check_endpoint(
            config, "https://generativelanguage.googleapis.com"
        )

    def body(self, request: CompletionRequest, profile: Profile) -> Json:
        """Give what the library's `generate_content` takes."""
        return gemini_request.render(request, profile)

    def streaming_body(
        self, request: CompletionRequest, profile: Profile
    ) -> Json:
        """Give the same: a stream is a method of its own."""
        return self.body(request, profile)

    def whole(self, answer: Any) -> Part:  # noqa: ANN401 - a provider's JSON
        """Read a whole answer; what the model thought is left out."""
        if not section(answer, "promptFeedback").get("blockReason"):
            _ = answer["candidates"][0]
        return self.part(answer)

    def part(self, event: Any) -> Part:  # noqa: ANN401 - a provider's JSON
        """Read one event of a stream, which looks like a whole answer."""
        counts = section(event, "usageMetadata")
        known = word_of(section(event).get("responseId"))
        blocked = section(event, "promptFeedback").get("blockReason")
        if blocked:
            reason = word_of(blocked)
            return Part("", counts, reason, filtered=True, request_id=known)
        candidates = items_of(section(event).get("candidates"))
        candidate = section(candidates[0]) if candidates else {}
        parts = [
            section(part)
            for part in items_of(section(candidate, "content").get("parts"))
        ]
        return Part(
            _text(parts, thought=False),
            counts,
            reason_of(candidate.get("finishReason")),
            request_id=known,
            tools=[
                tool(call.get("name"), call.get("args"))
                for part in parts
                if (call := section(part, "functionCall"))
            ],
            thoughts=_text(parts, thought=True),
        )

    def typed(self) -> Typed:
        """Give what reads the events of one answer."""
        return ContentEvents()

    def usage(self, counts: Mapping[str, Any]) -> Usage:
        """Add what was thought, which Google counts beside the output."""
        asked = count(counts, "promptTokenCount") + count(
            counts, "toolUsePromptTokenCount"
        )
        thought = count(counts, "thoughtsTokenCount")
        output = count(counts, "candidatesTokenCount")
        total = number_of(counts.get("totalTokenCount"))
        if output < thought or total != asked + output:
            output += thought
        cached = count(counts, "cachedContentTokenCount")
        return Usage(asked, output, cached, thought)


def _text(parts: Sequence[Mapping[str, Any]], *, thought: bool) -> str:
    return "".join(
        text_of(part.get("text"))
        for part in parts
        if bool(part.get("thought")) is thought
    )
