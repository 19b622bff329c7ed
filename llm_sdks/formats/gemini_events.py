"""Reads Google's generated content, whole or as it comes, as events."""

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

from llm_sdks.answers import (
    Begun,
    LogprobsSeen,
    TextDelta,
    ThinkingDelta,
    TokenChance,
    TokenLogprob,
)
from llm_sdks.formats.decoding import storable
from llm_sdks.formats.reading import items_of, section, text_of, word_of
from llm_sdks.formats.typed_events import Said, ToolCalls, is_logprob


class ContentEvents:
    """One answer while it is read."""

    stop_sequence: str | None = None

    def __init__(self) -> None:
        self._calls = ToolCalls()
        self._has_begun = False

    def read(self, event: Any) -> Iterator[Said]:  # noqa: ANN401 - a provider's JSON
        """Give what one event, which looks like a whole answer, says."""
        if not self._has_begun:
            self._has_begun = True
            yield Begun(word_of(event.get("modelVersion")))
        for candidate in items_of(event.get("candidates"))[:1]:
            content = section(candidate, "content")
            for part in items_of(content.get("parts")):
                yield from self._part(section(part))
            yield from _logprobs(section(candidate, "logprobsResult"))

    def _part(self, part: Mapping[str, Any]) -> Iterator[Said]:
        if call := section(part, "functionCall"):
            # Calls come whole, so that none is continued.
            key = object()
            yield self._calls.begin(
                key,
                call.get("id"),
                call.get("name"),
                part.get("thoughtSignature"),
            )
            yield from self._calls.more(key, call.get("args") or None)
        elif text := text_of(part.get("text")):
            # The pieces of the text are joined, and then cleaned, later.
            is_thought = part.get("thought")
            yield (
                ThinkingDelta(storable(text))
                if is_thought
                else TextDelta(text)
            )


def _logprobs(result: Mapping[str, Any]) -> Iterator[Said]:
    chosen = items_of(result.get("chosenCandidates"))
    places = items_of(result.get("topCandidates"))[: len(chosen)]
    tokens = []
    for token, place in zip_longest(map(section, chosen), places):
        if chance := _chance(token):
            others = items_of(section(place).get("candidates"))
            top = tuple(filter(None, map(_chance, map(section, others))))
            tokens.append(TokenLogprob(chance.token, chance.logprob, top=top))
    if tokens:
        yield LogprobsSeen(tuple(tokens))


def _chance(value: Mapping[str, Any]) -> TokenChance | None:
    token, chance = word_of(value.get("token")), value.get("logProbability")
    if token is None or not is_logprob(chance):
        return None
    return TokenChance(token, chance)
