"""Reads Anthropic's messages, whole or as they come, as events."""

from collections.abc import Iterator, Mapping
from typing import Any

from llm_sdks.answers import Begun, TextDelta, ThinkingDelta
from llm_sdks.formats.reading import items_of, section, text_of, word_of
from llm_sdks.formats.typed_events import Said, ToolCalls


class MessageEvents:
    """One answer while it is read."""

    def __init__(self) -> None:
        self._calls = ToolCalls()
        self.stop_sequence: str | None = None

    def read(self, event: Any) -> Iterator[Said]:  # noqa: ANN401 - a provider's JSON
        """Give what one event, or a whole answer, says."""
        match event.get("type"):
            case "message_start":
                yield from self._begun(section(event, "message"))
            case "content_block_start":
                block = section(event, "content_block")
                yield from self._block(event.get("index"), block)
            case "content_block_delta":
                yield from self._delta(event)
            case "message_delta":
                self._end(section(event, "delta"))
            case "message" | None:
                yield from self._begun(event)
                for index, block in enumerate(items_of(event["content"])):
                    yield from self._block(index, section(block))
                self._end(event)

    def _begun(self, message: Mapping[str, Any]) -> Iterator[Said]:
        yield Begun(word_of(message.get("model")))

    def _end(self, message: Mapping[str, Any]) -> None:
        stopped = word_of(message.get("stop_sequence"))
        self.stop_sequence = stopped or self.stop_sequence

    def _block(
        self, index: object, block: Mapping[str, Any]
    ) -> Iterator[Said]:
        match block.get("type"):
            case "tool_use":
                yield self._calls.begin(
                    index, block.get("id"), block.get("name")
                )
                # The start of a stream's block has none yet.
                yield from self._calls.more(index, block.get("input") or None)
            case "thinking":
                yield from _thought(
                    block.get("thinking"), block.get("signature")
                )
            case _:
                if text := text_of(block):
                    yield TextDelta(text)

    def _delta(self, event: Mapping[str, Any]) -> Iterator[Said]:
        delta = section(event, "delta")
        match delta.get("type"):
            case "text_delta":
                if text := text_of(delta.get("text")):
                    yield TextDelta(text)
            case "input_json_delta":
                more = delta.get("partial_json")
                yield from self._calls.more(event.get("index"), more)
            case "thinking_delta":
                yield from _thought(delta.get("thinking"), None)
            case "signature_delta":
                yield from _thought(None, delta.get("signature"))


def _thought(text: object, signature: object) -> Iterator[Said]:
    thought, proof = word_of(text) or "", word_of(signature) or ""
    if thought or proof:
        yield ThinkingDelta(thought, proof)
