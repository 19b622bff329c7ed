"""The difference of two texts by words; pure.

First by lines, as these carry the order; then, where lines were changed,
by words. So a reworded sentence shows its words, and a new paragraph is
one piece. Both are longest common subsequences (Hyyrö 2004, as rapidfuzz
computes them): thousands of words take milliseconds.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from rapidfuzz.distance import Indel

# The end of a line stands by itself: the last line may have none.
_LINE = re.compile(r"[^\n]+|\n")
_WORD = re.compile(r"\w+|\s+|[^\w\s]")
# The memory grows with the square: 50 MB. Longer texts are shown whole.
_MOST_PARTS = 20_000
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
    pieces = [
        piece
        for removed, added, same in _blocks(first, second, _LINE)
        for piece in (*_by_words(removed, added), *_same(same))
    ]
    return [
        Piece(change, "".join(each.text for each in some))
        for change, some in groupby(pieces, key=lambda each: each.change)
    ]


def _blocks(
    first: str, second: str, part: re.Pattern[str]
) -> Iterator[tuple[str, str, str]]:
    """Give what was removed and added, and what is the same behind it."""
    before, after = part.findall(first), part.findall(second)
    if max(len(before), len(after)) > _MOST_PARTS:
        yield first, second, ""
        return
    i = k = 0
    for code in Indel.opcodes(before, after):
        if code.tag == "equal":
            yield (
                "".join(before[i : code.src_start]),
                "".join(after[k : code.dest_start]),
                "".join(before[code.src_start : code.src_end]),
            )
            i, k = code.src_end, code.dest_end
    yield "".join(before[i:]), "".join(after[k:]), ""


def _by_words(first: str, second: str) -> Iterable[Piece]:
    if not first or not second:
        return _whole(first, second)
    pieces = [
        piece
        for removed, added, same in _blocks(first, second, _WORD)
        for piece in (*_whole(removed, added), *_same(same))
    ]
    if _alike(pieces, len(first) + len(second)) < _LEAST_ALIKE:
        return _whole(first, second)
    return _joined(pieces)


def _alike(pieces: Sequence[Piece], length: int) -> float:
    """Give the share of what both have, but for mere spaces."""
    same = sum(
        len(each.text)
        for each in pieces
        if each.change is Change.SAME and not each.text.isspace()
    )
    return 2 * same / length


def _joined(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Make one change of those that only a space lies between."""
    removed = added = space = ""
    for piece in pieces:
        is_space = piece.change is Change.SAME and piece.text.isspace()
        if is_space:
            space += piece.text
        elif piece.change is Change.SAME:
            yield from _whole(removed, added)
            yield Piece(Change.SAME, space + piece.text)
            removed = added = space = ""
        else:
            if removed or added:
                removed, added = removed + space, added + space
            else:
                yield from _same(space)
            space = ""
            removed += piece.text if piece.change is Change.REMOVED else ""
            added += piece.text if piece.change is Change.ADDED else ""
    yield from (*_whole(removed, added), *_same(space))


def _same(text: str) -> Iterable[Piece]:
    return [Piece(Change.SAME, text)] if text else []


def _whole(first: str, second: str) -> Iterable[Piece]:
    both = Piece(Change.REMOVED, first), Piece(Change.ADDED, second)
    return [each for each in both if each.text]
