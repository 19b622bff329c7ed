"""What the readers of all formats need to give an answer's events."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeGuard
from uuid import uuid4

from llm_sdks.answers import (
    Begun,
    Content,
    LogprobsSeen,
    TokenChance,
    TokenLogprob,
    ToolCallBegun,
    ToolCallDelta,
)
from llm_sdks.formats.decoding import compact, storable
from llm_sdks.formats.reading import items_of, section, word_of

# No token is longer.
_LONGEST_TOKEN_BYTES = 1000
_LARGEST_BYTE = 255

# What one event of a provider says; usage and the end are read elsewhere.
Said = Begun | Content | LogprobsSeen


class Typed(Protocol):
    """Reads the events of one answer of a provider, in their order."""

    # The stop sequence that ended the answer, where it is told.
    stop_sequence: str | None

    def read(self, event: Any) -> Iterable[Said]:  # noqa: ANN401 - a provider's JSON
        """Give what one event, or a whole answer, says.

        May raise any of `WRONG_SHAPE`.
        """


class ToolCalls:
    """The calls of one answer: counted, and each with an id.

    Providers name the call that an event belongs to by some `key` of their
    own; those that do not continue the last one.
    """

    def __init__(self) -> None:
        self._indexes: dict[object, int] = {}
        self._count = 0

    def begin(
        self,
        key: object,
        call_id: object,
        name: object,
        signature: object = None,
    ) -> ToolCallBegun:
        """Begin a call."""
        index = self._indexes[key] = self._count
        self._count += 1
        return ToolCallBegun(
            index,
            word_of(call_id) or f"call_{uuid4().hex}",
            word_of(name) or "",
            word_of(signature) or "",
        )

    def has(self, key: object) -> bool:
        """Tell whether a call of this key has begun."""
        return key in self._indexes

    def more(self, key: object, arguments: object) -> Iterable[ToolCallDelta]:
        """Give more of a call's arguments, which may be text or JSON.

        Raises:
            LookupError: no call has begun.
        """
        if arguments is None or arguments == "":
            return
        if not self._count:
            raise LookupError("arguments before any call")
        if not isinstance(arguments, str):
            arguments = compact(arguments)
        text = storable(arguments)
        yield ToolCallDelta(self._indexes.get(key, self._count - 1), text)


def logprobs_of(tokens: object) -> Iterable[LogprobsSeen]:
    """Read probabilities as OpenAI writes them; skip what is none."""
    found = tuple(
        _token(section(each))
        for each in items_of(tokens)
        if _is_token(section(each))
    )
    if found:
        yield LogprobsSeen(found)


def _token(value: Mapping[str, Any]) -> TokenLogprob:
    top = tuple(
        TokenChance(*_chance(section(each)))
        for each in items_of(value.get("top_logprobs"))
        if _is_token(section(each))
    )
    return TokenLogprob(*_chance(value), top)


def _chance(
    value: Mapping[str, Any],
) -> tuple[str, float, tuple[int, ...] | None]:
    return storable(value["token"]), value["logprob"], _data(value)


def _is_token(value: Mapping[str, Any]) -> bool:
    return isinstance(value.get("token"), str) and is_logprob(
        value.get("logprob")
    )


def is_logprob(value: object) -> TypeGuard[float]:
    """Tell whether a value can be the logarithm of a probability."""
    return isinstance(value, int | float) and math.isfinite(value)


def _data(value: Mapping[str, Any]) -> tuple[int, ...] | None:
    data = value.get("bytes")
    if not isinstance(data, list) or len(data) > _LONGEST_TOKEN_BYTES:
        return None
    are_bytes = all(
        isinstance(each, int) and 0 <= each <= _LARGEST_BYTE for each in data
    )
    return tuple(data) if are_bytes else None
