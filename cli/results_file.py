"""The output of `metasync run`: one JSON object a line, as they come."""

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TextIO

from pydantic_core import to_json

from cli.errors import CommandError, reason
from cli.input_file import Item
from utilities import payload

PROCESSED = "PROCESSED"
# A job in one of these has its answer, whatever became of that.
ANSWERED = frozenset({PROCESSED, "CONSUMED", "ERROR_CONSUMING"})

_FIELDS = ("id", "line", "status", "response", "metrics", "jobId", "key")
_ROW_START = b'{"id":'

Row = dict[str, Any]


class ResultsFile:
    """The rows of one run's items; what an earlier run got is kept.

    On entry it only reads; nothing is written before `open`. Failures of
    an earlier run are dropped: their lines are run again. Answers to other
    lines, or to another question, move to the file `earlier`, and come
    back when they are asked for again.
    """

    def __init__(self, path: Path, items: Iterable[Item]) -> None:
        self._path = path
        self._items = {item.key: item for item in items}
        self._was_there = path.exists()
        self._file: TextIO | None = None
        self.earlier = path.with_name(f"{path.stem}.earlier{path.suffix}")
        self.kept: dict[str, Row] = {}
        self._others: list[Row] = []
        self._earlier_rows: list[Row] = []

    def __enter__(self) -> Self:
        own, earlier = _read(self._path), _read(self.earlier)
        self.kept = {
            row["key"]: judged(row, self._items[row["key"]])
            for row in [*earlier, *own]
            if row["key"] in self._items
        }
        self._others = [row for row in own if row["key"] not in self._items]
        self._earlier_rows = earlier
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is None:
            return
        # What could not be written has been reported by `write`.
        with contextlib.suppress(OSError):
            self._file.close()
        if not (self._was_there or self._path.stat().st_size):
            self._path.unlink()

    def open(self) -> int:
        """Make the file this run's; returns how many rows moved.

        Raises:
            CommandError: it cannot be written.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # In this order, so that no answer is ever in neither of them.
            _replace(self.earlier, _united(self._earlier_rows, self._others))
            _replace(self._path, self.kept.values())
            self._file = self._path.open("a", encoding="utf-8")
        except OSError as error:
            raise self._not_writable(error) from None
        return len(self._others)

    def write(self, rows: Sequence[Row]) -> None:
        """Append rows; they are on disk when this returns.

        Raises:
            CommandError: they cannot be written.
        """
        assert self._file is not None  # noqa: S101 - after `open` only
        try:
            self._file.write(_text(rows))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._not_writable(error) from None

    def _not_writable(self, error: OSError) -> CommandError:
        return CommandError(
            f"Cannot write {self._path}: {reason(error)}. When it can be "
            "written, run the same command again: it continues."
        )


def write_in_order(
    path: Path, items: Iterable[Item], rows: Mapping[str, Row]
) -> None:
    """Write the rows of the items in their order, by key, in one step.

    Raises:
        CommandError: the file cannot be written.
    """
    try:
        _replace(path, [rows[i.key] for i in items if i.key in rows])
    except OSError as error:
        raise CommandError(f"Cannot write {path}: {reason(error)}") from None


def row_of(item: Item, job: Row) -> Row:
    """Give the row of an item whose job, as the server tells it, ended."""
    status = job["status"]
    row: Row = {
        # As it stands in the input: 7 stays a number.
        "id": item.fields.get("id", item.own_id),
        "line": item.line,
        "status": PROCESSED if status in ANSWERED else status,
        "response": job["responseData"],
        "metrics": job["processingMetrics"],
        "jobId": job["jobId"],
        "key": item.key,
    }
    if item.sample is not None:
        row["sample"] = item.sample
    if (earlier := job.get("cachedFrom")) is not None:
        row["cachedFrom"] = earlier
    if row["status"] != PROCESSED:
        row["error"] = job["errorData"] or _ended_by_somebody(status)
    return judged(row, item)


def judged(row: Row, item: Item) -> Row:
    """Give the row with the item's line and, for a label, the verdict."""
    kept = {k: row[k] for k in row if k not in ("label", "correct")}
    fresh = {**kept, "line": item.line}
    if item.file is not None:
        fresh["file"] = item.file
    if row["status"] == PROCESSED and item.label is not None:
        right = said(row["response"], item.answer_field) == normal(item.label)
        fresh |= {"label": item.label, "correct": right}
    elif item.label is not None:
        fresh |= {"label": item.label}
    return fresh


def said(response: object, path: str | None = None) -> str:
    """Tell what a labelled answer says: its first value, or that at a path.

    A path is made of names and places: `result.0.label`.
    """
    if path is not None:
        return normal(_at(response, path.split(".")))
    if isinstance(response, dict) and response:
        response = next(iter(response.values()))
    return normal(response)


def _at(value: object, steps: Sequence[str]) -> object:
    for step in steps:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isdecimal():
            value = value[int(step)] if int(step) < len(value) else None
        else:
            return None
    return value


def normal(value: object) -> str:
    """Write a label or an answer as they are compared."""
    return str(value).strip().casefold()


def _ended_by_somebody(status: str) -> Row:
    return {
        "errorType": status,
        "message": f"the job was {status.lower()} on the server",
    }


def _read(path: Path) -> list[Row]:
    """Read the answers in a file of ours; none if it is not there."""
    if not path.exists():
        return []
    if not path.is_file():
        raise CommandError(f"{path} is not a file; choose another --out")
    *lines, last = path.read_bytes().split(b"\n")
    if last and not _is_torn(last):
        lines.append(last)
    rows = [_row(path, number, line) for number, line in enumerate(lines, 1)]
    return [row for row in rows if row["status"] == PROCESSED]


def _is_torn(line: bytes) -> bool:
    # A run that was killed while it wrote leaves the start of a row.
    if not (line.startswith(_ROW_START) or _ROW_START.startswith(line)):
        return False
    try:
        payload.load(line.decode())
    except ValueError:
        return True
    return False


def _row(path: Path, number: int, line: bytes) -> Row:
    try:
        row = payload.load(line.decode())
    except ValueError:
        row = None
    if isinstance(row, dict) and row.keys() >= set(_FIELDS):
        return row
    raise CommandError(
        f"{path} exists and is not a results file of `metasync run` (line "
        f"{number} is not a result). It was not changed: choose another --out"
    )


def _united(some: Iterable[Row], more: Iterable[Row]) -> Iterable[Row]:
    return {row["key"]: row for row in [*some, *more]}.values()


def _text(rows: Iterable[Row]) -> str:
    # Not payload.dump(): an answer may be as deep as that allows already.
    return "".join(f"{to_json(row).decode()}\n" for row in rows)


def _replace(path: Path, rows: Iterable[Row]) -> None:
    """Write these rows to the file at once, if it does not have them."""
    text = _text(rows).encode()
    if text == (path.read_bytes() if path.exists() else b""):
        return
    path = path.resolve()
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
