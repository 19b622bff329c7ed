"""`metasync diff`: reads two result files and shows how they differ."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from cli.diff_rows import Difference, columns_of, difference
from cli.errors import CommandError
from cli.input_rows import Kind, read_rows
from cli.terminal import one_line
from utilities import payload

_LONGEST_VALUE = 120

Fields = dict[str, Any]


def run_diff(
    first: Path,
    second: Path,
    console: Console,
    *,
    by: Sequence[str] = (),
    kind: Kind | None = None,
    most: int = 20,
    as_json: bool = False,
) -> int:
    """Show the difference; return the exit status, as of diff(1).

    0: there is none, 1: there is one. `most` rows of each kind are shown.

    Raises:
        CommandError: a file cannot be read, or its rows not be matched.
    """
    found = difference(_rows(first, kind), _rows(second, kind), by)
    if as_json:
        # Not the console: lines must not be broken.
        console.file.write(payload.dump(_as_json(found)) + "\n")
    else:
        for line in _lines(found, most):
            console.print(line, soft_wrap=True)
    return 1 if found else 0


def _rows(path: Path, kind: Kind | None) -> list[Fields]:
    rows = []
    for row in read_rows([path], kind):
        if row.problem is not None:
            raise CommandError(f"{path}, line {row.line}: {row.problem}")
        rows.append(row.fields)
    return rows


def _as_json(found: Difference) -> Fields:
    return {
        "changed": [
            {"row": each.name, "fields": _pairs(each.fields)}
            for each in found.changed
        ],
        "added": [_named(*each) for each in found.added],
        "removed": [_named(*each) for each in found.removed],
        "counts": _counts(found),
        "by": found.by,
    }


def _pairs(fields: Mapping[str, tuple[Any, Any]]) -> Fields:
    return {
        name: {"before": before, "after": after}
        for name, (before, after) in fields.items()
    }


def _named(name: str, fields: Fields) -> Fields:
    return {"row": name, "fields": fields}


def _counts(found: Difference) -> dict[str, int]:
    return {
        "changed": len(found.changed),
        "added": len(found.added),
        "removed": len(found.removed),
        "same": found.same,
    }


def _lines(found: Difference, most: int) -> Iterator[Text]:
    for changed in found.changed[:most]:
        yield Text(f"~ {_shown(changed.name)}", style="bold yellow")
        for name, (before, after) in changed.fields.items():
            yield Text(f"  - {_shown(name)}: {_shown(before)}", style="red")
            yield Text(f"  + {_shown(name)}: {_shown(after)}", style="green")
    yield from _left_out(len(found.changed) - most, "changed")
    for name, fields in found.removed[:most]:
        yield Text(f"- {_shown(name)}: {_shown(fields)}", style="red")
    yield from _left_out(len(found.removed) - most, "removed")
    for name, fields in found.added[:most]:
        yield Text(f"+ {_shown(name)}: {_shown(fields)}", style="green")
    yield from _left_out(len(found.added) - most, "added")
    yield Text(_summary(found), style="bold")
    for name, count in columns_of(found):
        yield Text(f"  {_shown(name)}: {count:,} changed")


def _left_out(count: int, what: str) -> Iterator[Text]:
    if count > 0:
        yield Text(f"  and {count:,} more {what} (--json has all)")


def _summary(found: Difference) -> str:
    counts = ", ".join(
        f"{count:,} {name}" for name, count in _counts(found).items()
    )
    return f"{counts} (rows matched by {one_line(found.by)})"


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else payload.dump(value)
    text = one_line(text)
    if len(text) <= _LONGEST_VALUE:
        return text
    return text[: _LONGEST_VALUE - 3] + "..."
