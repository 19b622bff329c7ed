"""`Gemini`: Google's Gemini interface, by API key."""

from collections.abc import Mapping
from typing import Any

from llm_sdks.base_sdk import CompletionRequest, LLMConfig, Usage
from llm_sdks.formats import gemini_request, settings
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

settings.require("google.genai", "aiohttp", install="google-genai[aiohttp]")


class GeminiSDK(ProviderSDK):
    """Generated content; without an `endpoint`, Google's own."""

    usual_key_variable = "GEMINI_API_KEY"
    client_module = "llm_sdks.wires.gemini_client"
    profile = gemini_request.PROFILE
    answer_name = "generated content"
    endings = Endings(
        frozenset({"MAX_TOKENS", "CONTINUATION"}),
        frozenset(
            {"SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII"}
        ),
    )

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
        blocked = section(answer, "promptFeedback").get("blockReason")
        counts = section(answer, "usageMetadata")
        known = word_of(answer.get("responseId"))
        if blocked:
            reason = word_of(blocked)
            return Part("", counts, reason, filtered=True, request_id=known)
        candidate = answer["candidates"][0]
        parts = section(candidate, "content").get("parts") or []
        texts = [
            text_of(part.get("text"))
            for part in parts
            if not part.get("thought")
        ]
        reason = word_of(candidate.get("finishReason"))
        return Part("".join(texts), counts, reason, request_id=known)

    def part(self, event: Any) -> Part:  # noqa: ANN401 - a provider's JSON
        """Read one event of a stream, which looks like a whole answer."""
        if not event.get("candidates") and "usageMetadata" in event:
            event = {"candidates": [{}], **event}
        return self.whole(event)

    def usage(self, counts: Mapping[str, Any]) -> Usage:
        """Add what was thought, which Google counts beside the output."""
        thought = count(counts, "thoughtsTokenCount")
        return Usage(
            count(counts, "promptTokenCount")
            + count(counts, "toolUsePromptTokenCount"),
            count(counts, "candidatesTokenCount") + thought,
            count(counts, "cachedContentTokenCount"),
            thought,
        )
