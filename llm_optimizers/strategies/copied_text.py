"""Finds training text that a model has copied into an instruction.

A prompt that holds its training items scores high on what it has seen and
teaches nothing. Worked examples are copied on purpose: they are kept apart
from the instruction and are not looked at here. Only what a model can have
been shown is looked for, so that large items take little memory.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from llm_optimizers.strategies.protocol import Item
from llm_optimizers.strategies.shown import cut

# Characters of a piece that nobody writes by chance.
_PIECE = 48
# A shorter text counts if it is there as a whole.
_SHORTEST = 24


class CopiedText:
    """The training texts, ready to be found."""

    def __init__(
        self, items: Sequence[Item], allowed: Iterable[str] = ()
    ) -> None:
        """Take the items; texts of `allowed` prompts may be repeated.

        Texts that several items share, as labels do, are the task's own
        words: everybody may use them.
        """
        texts = Counter(
            text
            for item in items
            for text in set(
                _texts((cut(item.request_data), cut(item.expected)))
            )
        )
        own = " ".join(_plain(text) for text in allowed)
        # Shorter texts by their beginnings.
        self._short: dict[str, list[str]] = {}
        self._pieces: set[str] = set()
        for text, count in texts.items():
            if count == 1 and text not in own:
                self._keep(text)

    def _keep(self, text: str) -> None:
        if len(text) >= _PIECE:
            # Every piece of twice this length holds one of these.
            starts = range(0, len(text) - _PIECE + 1, _PIECE // 2)
            self._pieces.update(text[at : at + _PIECE] for at in starts)
        elif len(text) >= _SHORTEST:
            self._short.setdefault(text[:_SHORTEST], []).append(text)

    def in_text(self, prompt: str) -> bool:
        """Tell whether a prompt holds a long piece of a training item."""
        plain = _plain(prompt)
        if any(
            plain[at : at + _PIECE] in self._pieces
            for at in range(len(plain) - _PIECE + 1)
        ):
            return True
        return any(
            plain.startswith(text, at)
            for at in range(len(plain) - _SHORTEST + 1)
            for text in self._short.get(plain[at : at + _SHORTEST], ())
        )


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _texts(value: Any) -> Iterable[str]:  # noqa: ANN401 - JSON is any of six types
    if isinstance(value, str):
        yield _plain(value)
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)
