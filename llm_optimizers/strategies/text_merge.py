"""Joins several changes of one text, line by line.

Changes of different places are made together; lines that several add at
the same place come one after the other. This needs no call of a model, and
nothing of what was measured gets lost (the three-way merge of `diff3`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher


@dataclass(frozen=True, slots=True)
class _Edit:
    """Lines `begin` to `end` of the base become `lines`."""

    begin: int
    end: int
    lines: tuple[str, ...]

    @property
    def is_insertion(self) -> bool:
        return self.begin == self.end


@dataclass(frozen=True, slots=True)
class Merged:
    """The text, and the positions of the changes that are in it."""

    text: str
    included: tuple[int, ...]


def merge(base: str, changed: Sequence[str]) -> Merged:
    """Make all changes that do not collide with an earlier one."""
    lines = base.splitlines()
    taken: list[_Edit] = []
    included = []
    for index, text in enumerate(changed):
        edits = _edits(lines, text.splitlines())
        new = [edit for edit in edits if edit not in taken]
        if not any(_collide(a, b) for a in new for b in taken):
            taken += new
            included.append(index)
    return Merged(_apply(lines, taken), tuple(included))


def _edits(base: list[str], text: list[str]) -> list[_Edit]:
    matcher = SequenceMatcher(None, base, text, autojunk=False)
    return [
        _Edit(i1, i2, tuple(text[j1:j2]))
        for tag, i1, i2, j1, j2 in matcher.get_opcodes()
        if tag != "equal"
    ]


def _collide(one: _Edit, other: _Edit) -> bool:
    if one.is_insertion and other.is_insertion:
        return False
    if one.is_insertion or other.is_insertion:
        point, span = (one, other) if one.is_insertion else (other, one)
        return span.begin < point.begin < span.end
    return one.begin < other.end and other.begin < one.end


def _apply(base: list[str], edits: list[_Edit]) -> str:
    made: list[str] = []
    at = 0
    # Insertions come before what replaces the line at the same place.
    ordered = sorted(edits, key=lambda edit: (edit.begin, edit.end))
    inserted: tuple[int, set[str]] = (-1, set())
    for edit in ordered:
        made += base[at : edit.begin]
        at = max(at, edit.end)
        if inserted[0] != edit.begin:
            inserted = (edit.begin, set())
        # Two changes that add the same line add it once.
        made += [
            line
            for line in edit.lines
            if not line.strip() or line not in inserted[1]
        ]
        inserted[1].update(edit.lines)
    return "\n".join([*made, *base[at:]])
