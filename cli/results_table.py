"""The answers of a run: a table of the input's columns and the answers'.

Written when a run has ended, from its rows; those are kept beside it, so
that the same command continues after a stop.
"""

import csv
import io
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic_core import to_json

from cli.errors import CommandError, reason
from cli.input_file import Item
from cli.input_rows import Kind, check_library, kind_of, packing_of
from cli.packing import opened
from cli.results_file import PROCESSED, Row

_ANSWER, _ERROR = "answer", "error"

Table = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Target:
    """The file of the results, and how they are written there."""

    path: Path
    kind: Kind

    @classmethod
    def of(cls, path: Path, kind: Kind | None = None) -> Self:
        """Tell by the name, unless it is said."""
        return cls(path, kind or kind_of(path))

    @property
    def packing(self) -> str | None:
        """How it is compressed: `.gz`, `.zst` or None."""
        return packing_of(self.path)

    @property
    def is_made_at_the_end(self) -> bool:
        """Whether it cannot grow row by row, as JSON Lines do."""
        return self.kind is not Kind.JSONL or self.packing is not None

    @property
    def rows(self) -> Path:
        """The file with the rows from which it is made."""
        if not self.is_made_at_the_end:
            return self.path
        return self.path.with_name(f"{self.path.name}.rows.jsonl")

    def check(self) -> None:
        """Make sure that it can be written, before anything is paid.

        Raises:
            CommandError: it cannot.
        """
        check_library(self.kind)
        if self.kind.is_binary and self.packing:
            raise CommandError(
                f"{self.kind.capitalize()} is compressed as it is: leave out "
                f"{self.packing}"
            )


def check_columns(items: Sequence[Item], columns: Sequence[str]) -> None:
    """Make sure that the input has the columns that are wanted.

    Raises:
        CommandError: it has not; says which it has.
    """
    known = {name for item in items for name in item.fields}
    for name in columns:
        if name not in known:
            raise CommandError(
                f"No line has a column {name!r}; there is: "
                f"{', '.join(sorted(known))}"
            )


def write_results(
    target: Target,
    items: Sequence[Item],
    rows: Mapping[str, Row],
    columns: Sequence[str] | None,
    *,
    are_texts: bool = False,
) -> None:
    """Write a row for each line, in the order of the input.

    `columns` are those of the input that are wanted; None: all.
    `are_texts` says that the answers are texts, not JSON.

    Raises:
        CommandError: it cannot be written.
    """
    if target.kind is Kind.JSONL:
        found = [rows[i.key] for i in items if i.key in rows]
        _replaced(target, lambda path: _write_lines(path, found, target))
        return
    table = [
        {
            **_kept(item, columns),
            **_answered(item, rows.get(item.key), are_texts=are_texts),
        }
        for item in items
    ]
    names = _names(table)

    def write(path: Path) -> None:
        if target.kind.is_binary:
            _write_columns(path, table, names, target.kind)
        else:
            _write_text(path, table, names, target)

    _replaced(target, write)


def _replaced(target: Target, write: Callable[[Path], None]) -> None:
    """Write a file beside the target, then put it in its place."""
    path = target.path
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise CommandError(f"Cannot write {path}: {reason(error)}") from None
    finally:
        temporary.unlink(missing_ok=True)


def _write_lines(path: Path, rows: Sequence[Row], target: Target) -> None:
    with opened(path, target.packing) as file:
        file.writelines(to_json(row) + b"\n" for row in rows)


def _kept(item: Item, columns: Sequence[str] | None) -> dict[str, Any]:
    if columns is None:
        return dict(item.fields)
    return {name: item.fields.get(name) for name in columns}


def _answered(
    item: Item, row: Row | None, *, are_texts: bool
) -> dict[str, Any]:
    """Give the columns of an answer; those of an object are its fields."""
    if row is None:
        return {}
    if row["status"] != PROCESSED:
        error = row.get("error") or {}
        return {_ERROR: f"{error.get('errorType')}: {error.get('message')}"}
    answer = row["response"]
    if are_texts and isinstance(answer, dict):
        answer = answer.get("text")
    found = answer if isinstance(answer, dict) else {_ANSWER: answer}
    named = {
        (f"{_ANSWER}_{name}" if name in item.fields else name): value
        for name, value in found.items()
    }
    if "correct" in row:
        named["correct"] = row["correct"]
    return named


def _names(table: Table) -> list[str]:
    names = dict.fromkeys(name for row in table for name in row)
    # What failed stands last, and only if something has.
    if _ERROR in names:
        names[_ERROR] = names.pop(_ERROR)
    return list(names)


def _write_text(
    path: Path, table: Table, names: Sequence[str], target: Target
) -> None:
    delimiter = "\t" if target.kind is Kind.TSV else ","
    with (
        opened(path, target.packing) as binary,
        io.TextIOWrapper(binary, encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(names)
        writer.writerows(
            [_cell(row.get(name)) for name in names] for row in table
        )


def _cell(value: object) -> object:
    if value is None or isinstance(value, str):
        return value
    return to_json(value).decode()


def _write_columns(
    path: Path, table: Table, names: Sequence[str], kind: Kind
) -> None:
    from arro3.io import (  # noqa: PLC0415 - optional
        infer_json_schema,
        read_json,
        write_ipc,
        write_parquet,
    )

    mixed = _mixed(table, names)
    with tempfile.TemporaryDirectory() as directory:
        lines = Path(directory) / "rows.jsonl"
        with lines.open("wb") as file:
            for row in table:
                cells = {
                    name: _cell(row.get(name))
                    if name in mixed
                    else row.get(name)
                    for name in names
                }
                file.write(to_json(cells) + b"\n")
        try:
            schema = infer_json_schema(str(lines))
            write = write_ipc if kind is Kind.ARROW else write_parquet
            # The library puts the columns in the order of their names.
            found = read_json(str(lines), schema).read_all()
            write(found.select(list(names)), str(path))
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            # The library's errors are not all `Exception`s.
            raise CommandError(
                f"The table cannot be {kind}: {str(error)[:200]}. Write .csv"
            ) from None


def _mixed(table: Table, names: Iterable[str]) -> set[str]:
    """Name the columns whose values are of several kinds: they are texts."""
    found = set()
    for name in names:
        kinds = {_kind(row.get(name)) for row in table} - {None}
        if len(kinds) > 1 or kinds & {"object"}:
            found.add(name)
    return found


def _kind(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "text"
    return "list" if isinstance(value, list) and value else "object"
