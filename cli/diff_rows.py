"""Rows of two result files, matched: what changed, came and went."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cli.errors import CommandError
from utilities import payload

# Of a row of `metasync run`: where it was made, and what it has cost.
_NOT_COMPARED = frozenset(
    {"line", "file", "metrics", "jobId", "key", "cachedFrom"}
)
_OF_A_RUN = frozenset({"status", "response", "jobId", "key"})
_ID, _SAMPLE = "id", "sample"
# The part of a column's values that both files have, if it is an input's.
_IN_BOTH = 0.5

Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Changed:
    """A row that is in both files; `fields` are its values in each."""

    name: str
    fields: Mapping[str, tuple[Any, Any]]


@dataclass(frozen=True, slots=True)
class Difference:
    """How the second file differs from the first one."""

    changed: Sequence[Changed] = ()
    added: Sequence[tuple[str, Fields]] = ()
    removed: Sequence[tuple[str, Fields]] = ()
    same: int = 0
    by: str = _ID

    def __bool__(self) -> bool:
        return bool(self.changed or self.added or self.removed)


@dataclass(slots=True)
class _Side:
    """The rows of one file by what names them, each name with its rows."""

    rows: dict[str, list[Fields]] = field(
        default_factory=lambda: defaultdict(list)
    )


def difference(
    first: Sequence[Fields], second: Sequence[Fields], by: Sequence[str] = ()
) -> Difference:
    """Compare rows that have the same name.

    That is what the columns `by` have, or their `id` (with `sample`, if
    they have one); without ids, the input, or else its lines. Of several
    rows with one name, the first ones are compared, and so on.

    Raises:
        CommandError: a row has no such column, or none tells rows apart.
    """
    names = list(by) or _names(first, second)
    one, other = _side(first, names, "first"), _side(second, names, "second")
    changed, same = [], 0
    for name, rows in one.rows.items():
        for before, after in zip(rows, other.rows.get(name, []), strict=False):
            if fields := _fields(before, after):
                changed.append(Changed(name, fields))
            else:
                same += 1
    return Difference(
        changed,
        list(_only(other, one)),
        list(_only(one, other)),
        same,
        ", ".join(names),
    )


def _names(first: Sequence[Fields], second: Sequence[Fields]) -> list[str]:
    """Choose the columns that name rows."""
    every = [*first, *second]
    if all(row.get(_ID) is not None for row in every):
        has_samples = any(row.get(_SAMPLE) is not None for row in every)
        return [_ID, _SAMPLE] if has_samples else [_ID]
    if any(_is_of_a_run(row) for row in every):
        # The key of a line and its question; another question has others.
        keys = [{row.get("key") for row in rows} for rows in (first, second)]
        return ["key"] if keys[0] & keys[1] else ["file", "line", _SAMPLE]
    inputs = _inputs(first, second)
    if not inputs:
        raise CommandError(
            "The rows have no `id`, and no column tells them apart in both "
            "files: name the columns that do with --by"
        )
    return inputs


def _inputs(first: Sequence[Fields], second: Sequence[Fields]) -> list[str]:
    """Find the columns of the input.

    One that is different in each row is enough; otherwise those that are
    different in most rows. Of what answers say, few values are in both.
    """
    if not (first and second):
        return list((first or second or [{_ID: None}])[0])
    fewer = min(len(first), len(second))
    often = []
    for name in (each for each in first[0] if each in second[0]):
        one = {_text(row.get(name)) for row in first}
        other = {_text(row.get(name)) for row in second}
        if len(one & other) < min(len(one), len(other)) * _IN_BOTH:
            continue
        if (len(one), len(other)) == (len(first), len(second)):
            return [name]
        if min(len(one), len(other)) >= fewer * _IN_BOTH:
            often.append(name)
    return often


def _side(rows: Sequence[Fields], names: Sequence[str], which: str) -> _Side:
    side = _Side()
    for row in rows:
        if not any(name in row for name in names):
            raise CommandError(
                f"A row of the {which} file has no column "
                f"{' or '.join(map(repr, names))}; it has: "
                f"{', '.join(sorted(row)[:20])}"
            )
        side.rows[_name(row, names)].append(row)
    return side


def _name(row: Fields, names: Sequence[str]) -> str:
    shown = [_text(row[name]) for name in names if row.get(name) is not None]
    return " / ".join(shown)


def _only(side: _Side, other: _Side) -> Iterator[tuple[str, Fields]]:
    for name, rows in side.rows.items():
        there = len(other.rows.get(name, []))
        for row in rows[there:]:
            yield name, _compared(row)


def _fields(before: Fields, after: Fields) -> dict[str, tuple[Any, Any]]:
    one, other = _compared(before), _compared(after)
    return {
        name: (one.get(name), other.get(name))
        for name in dict.fromkeys([*one, *other])
        if _text(one.get(name)) != _text(other.get(name))
    }


def _compared(row: Fields) -> Fields:
    if not _is_of_a_run(row):
        return row
    return {name: row[name] for name in row if name not in _NOT_COMPARED}


def _is_of_a_run(row: Fields) -> bool:
    return row.keys() >= _OF_A_RUN


def _text(value: object) -> str:
    # A table has all values as texts; 7 and "7" are the same there.
    return value if isinstance(value, str) else payload.dump(value)


def columns_of(difference_: Difference) -> Iterable[tuple[str, int]]:
    """Count how many rows have changed by column, the most first."""
    counts: dict[str, int] = {}
    for each in difference_.changed:
        for name in each.fields:
            counts[name] = counts.get(name, 0) + 1
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
