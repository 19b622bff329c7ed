"""The answers of a run as a table: the input's columns, then the answer's.

Written when a run has ended, from its rows; those are kept beside it, so
that the same command continues after a stop.
"""

import csv
import importlib.util
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from cli.errors import CommandError, reason
from cli.input_file import Item
from cli.input_rows import Kind, kind_of
from cli.results_file import PROCESSED, Row

_ANSWER, _ERROR = "answer", "error"

Table = list[dict[str, Any]]


def is_table(out: Path) -> bool:
    """Tell whether a file's name asks for a table."""
    return kind_of(out) is not Kind.JSONL


def rows_beside(out: Path) -> Path:
    """Name the file with the rows from which the table is made."""
    return out.with_name(f"{out.name}.rows.jsonl") if is_table(out) else out


def check_table(out: Path) -> None:
    """Make sure that the table can be written, before anything is paid.

    Raises:
        CommandError: it cannot.
    """
    if out.suffix.lower() == ".gz":
        raise CommandError("Tables are written as they are, without .gz")
    if kind_of(out) is Kind.PARQUET and not importlib.util.find_spec("arro3"):
        raise CommandError(
            "Parquet needs a library that is not installed: pip install "
            "'metasync[parquet]', or write .csv"
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


def write_table(
    out: Path,
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
    table = [
        {
            **_kept(item, columns),
            **_answered(item, rows.get(item.key), are_texts=are_texts),
        }
        for item in items
    ]
    names = _names(table)
    temporary = out.with_name(f".{out.name}.tmp")
    try:
        if kind_of(out) is Kind.PARQUET:
            _write_parquet(temporary, table, names)
        else:
            delimiter = "\t" if kind_of(out) is Kind.TSV else ","
            _write_text(temporary, table, names, delimiter)
        temporary.replace(out)
    except OSError as error:
        raise CommandError(f"Cannot write {out}: {reason(error)}") from None
    finally:
        temporary.unlink(missing_ok=True)


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
    path: Path, table: Table, names: Sequence[str], delimiter: str
) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(names)
        writer.writerows(
            [_cell(row.get(name)) for name in names] for row in table
        )
        file.flush()
        os.fsync(file.fileno())


def _cell(value: object) -> object:
    if value is None or isinstance(value, str):
        return value
    return to_json(value).decode()


def _write_parquet(path: Path, table: Table, names: Sequence[str]) -> None:
    from arro3.io import (  # noqa: PLC0415 - optional
        infer_json_schema,
        read_json,
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
            write_parquet(read_json(str(lines), schema), str(path))
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            # The library's errors are not all `Exception`s.
            raise CommandError(
                f"The table cannot be Parquet: {str(error)[:200]}. Write .csv"
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
