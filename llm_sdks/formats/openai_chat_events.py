"""Reads answers of chat completions, whole or as they come, as events."""

from collections.abc import Iterator, Mapping
from typing import Any

from llm_sdks.answers import (
    Begun,
    RefusalDelta,
    TextDelta,
    ThinkingDelta,
)
from llm_sdks.formats.decoding import storable
from llm_sdks.formats.reading import items_of, section, text_of, word_of
from llm_sdks.formats.typed_events import Said, ToolCalls, logprobs_of

# DeepSeek's and vLLM's name for what the model thought, and OpenRouter's.
_THOUGHTS = ("reasoning_content", "reasoning")


class ChatEvents:
    """One answer while it is read."""

    stop_sequence: str | None = None

    def __init__(self) -> None:
        self._calls = ToolCalls()
        self._has_begun = False
        # The key of the last call, and of the last with each number.
        self._last: object = None
        self._by_number: dict[object, object] = {}

    def read(self, event: Any) -> Iterator[Said]:  # noqa: ANN401 - a provider's JSON
        """Give what one event, or a whole answer, says."""
        if not self._has_begun:
            self._has_begun = True
            yield Begun(word_of(event.get("model")))
        for choice in items_of(event.get("choices"))[:1]:
            yield from self._choice(section(choice))

    def _choice(self, choice: Mapping[str, Any]) -> Iterator[Said]:
        said = section(choice, "delta") or section(choice, "message")
        if not said and "text" in choice:
            said = {"content": choice["text"]}
        yield from _texts(said)
        for call in items_of(said.get("tool_calls")):
            yield from self._call(section(call))
        if older := section(said, "function_call"):
            yield from self._call({"index": "only", "function": older})
        yield from logprobs_of(section(choice, "logprobs").get("content"))
        # OpenAI has none of its own; vLLM names it here.
        stopped = choice.get("stop_reason")
        self.stop_sequence = word_of(stopped) or self.stop_sequence

    def _call(self, call: Mapping[str, Any]) -> Iterator[Said]:
        function = section(call, "function")
        key = self._key(call, function)
        if not self._calls.has(key):
            yield self._calls.begin(
                key, call.get("id"), function.get("name"), _signature(call)
            )
        yield from self._calls.more(key, function.get("arguments"))

    def _key(
        self, call: Mapping[str, Any], function: Mapping[str, Any]
    ) -> object:
        """Tell which call an event belongs to.

        Some servers number no calls: one with an id or a name is new then.
        Others give every call the number 0, and ids of their own.
        """
        number, own = call.get("index"), call.get("id")
        is_new = own or (number is None and function.get("name"))
        if is_new or (number is not None and number not in self._by_number):
            self._last = self._by_number[number] = (number, own or object())
        elif number is not None:
            self._last = self._by_number[number]
        return self._last


def _texts(said: Mapping[str, Any]) -> Iterator[Said]:
    for name in _THOUGHTS:
        if thought := word_of(said.get(name)):
            yield ThinkingDelta(thought)
            break
    content = said.get("content")
    if text := text_of(content, frozenset({"text", "output_text"})):
        yield TextDelta(text)
    if refusal := text_of(said.get("refusal")):
        yield RefusalDelta(storable(refusal))


def _signature(call: Mapping[str, Any]) -> object:
    """Read what Google's own endpoint of this format puts there.

    https://ai.google.dev/gemini-api/docs/thought-signatures
    """
    more = section(section(call, "extra_content"), "google")
    return more.get("thought_signature")
