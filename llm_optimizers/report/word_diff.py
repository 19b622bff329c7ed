"""The difference of two texts by words; pure.

First by lines, as these carry the order; then, where lines were changed,
by words. So a long text takes no longer than its lines, and a reworded
sentence still shows its words.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import StrEnum
from itertools import groupby

# The end of a line stands by itself: the last line may have none.
_LINE = re.compile(r"[^\n]+|\n")
_WORD = re.compile(r"\w+|\s+|[^\w\s]")
# The work grows with their product.
_MOST_LINES = 4_000
_MOST_WORDS = 600
# Below this share of common words, both texts whole are easier to read.
_LEAST_ALIKE = 0.3


class Change(StrEnum):
    """What became of a piece of text."""

    SAME = "same"
    REMOVED = "removed"
    ADDED = "added"


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of text, and what became of it."""

    change: Change
    text: str


def word_diff(first: str, second: str) -> list[Piece]:
    """Give the pieces, in order: without the added ones, they are `first`.

    Without the removed ones, they are `second`.
    """
    pieces = _by_lines(_LINE.findall(first), _LINE.findall(second))
    return [
        Piece(change, "".join(each.text for each in some))
        for change, some in groupby(pieces, key=lambda each: each.change)
    ]


def _by_lines(first: Sequence[str], second: Sequence[str]) -> Iterator[Piece]:
    if max(len(first), len(second)) > _MOST_LINES:
        yield from _whole("".join(first), "".join(second))
        return
    matcher = SequenceMatcher(None, first, second, autojunk=False)
    for tag, i, j, k, m in matcher.get_opcodes():
        before, after = "".join(first[i:j]), "".join(second[k:m])
        if tag == "equal":
            yield Piece(Change.SAME, before)
        else:
            yield from _by_words(before, after)


def _by_words(first: str, second: str) -> Iterator[Piece]:
    before, after = _WORD.findall(first), _WORD.findall(second)
    if max(len(before), len(after)) > _MOST_WORDS:
        yield from _whole(first, second)
        return
    codes = SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    pieces = [
        piece
        for tag, i, j, k, m in codes
        for piece in (
            [Piece(Change.SAME, "".join(before[i:j]))]
            if tag == "equal"
            else _whole("".join(before[i:j]), "".join(after[k:m]))
        )
    ]
    same = sum(len(each.text) for each in _kept(pieces))
    if 2 * same < _LEAST_ALIKE * (len(first) + len(second)):
        yield from _whole(first, second)
    else:
        yield from _joined(pieces)


def _kept(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Give what both texts have, but for mere spaces."""
    return (
        each
        for each in pieces
        if each.change is Change.SAME and not each.text.isspace()
    )


def _joined(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Make one change of those that only a space lies between."""
    removed = added = space = ""
    for piece in pieces:
        if piece.change is Change.SAME and piece.text.isspace():
            space += piece.text
        elif piece.change is Change.SAME:
            yield from _whole(removed, added)
            yield Piece(Change.SAME, space + piece.text)
            removed = added = space = ""
        else:
            if removed or added:
                removed, added = removed + space, added + space
            elif space:
                yield Piece(Change.SAME, space)
            space = ""
            if piece.change is Change.REMOVED:
                removed += piece.text
            else:
                added += piece.text
    yield from _whole(removed, added)
    if space:
        yield Piece(Change.SAME, space)


def _whole(first: str, second: str) -> Iterator[Piece]:
    if first:
        yield Piece(Change.REMOVED, first)
    if second:
        yield Piece(Change.ADDED, second)
