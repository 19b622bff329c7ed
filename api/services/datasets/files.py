"""Rows of the files that datasets are uploaded as: JSON Lines, CSV, Parquet.

Files are read row by row, so memory stays bounded whatever their size.
"""

import csv
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

from fastapi.exceptions import RequestValidationError
from pydantic import RootModel

from api.core.errors import RuleError, TooLargeError
from api.core.request_body import read_body
from api.models.job_fields import REQUEST_BYTES_LIMIT
from api.services.datasets.items import reason_of
from utilities.limited import (
    CallFailedError,
    LimitedCalls,
    LimitExceededError,
)

_CONVERTER = "utilities.parquet"
# An item may have an expected answer beside its input.
_LONGEST_LINE = 2 * REQUEST_BYTES_LIMIT
_PARQUET_SECONDS = 60.0
_NO_PARQUET = (
    "Parquet needs a library that is not installed on this server: install "
    "metasync[parquet], or upload JSON Lines or CSV"
)


class FileKind(StrEnum):
    """The kinds of files, by their names' ends."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


CONTENT_TYPES: Mapping[str, FileKind] = {
    "application/jsonl": FileKind.JSONL,
    "application/x-ndjson": FileKind.JSONL,
    "application/x-jsonlines": FileKind.JSONL,
    "text/csv": FileKind.CSV,
    "application/vnd.apache.parquet": FileKind.PARQUET,
}


@dataclass(frozen=True, slots=True)
class Line:
    """A row with the number of its line, or why there is none.

    `size` is about how many bytes it has.
    """

    number: int
    size: int
    row: Mapping[str, Any] | None = None
    problem: str | None = None


class _Row(RootModel[dict[str, Any]]):
    """A line of JSON Lines."""


def lines_of(kind: FileKind, path: Path) -> Iterator[Line]:
    """Read a file row by row; Parquet must have been converted.

    Raises:
        RuleError: the file as a whole cannot be read.
    """
    readers: Mapping[FileKind, Callable[[Path], Iterator[Line]]] = {
        FileKind.CSV: _csv_lines
    }
    return readers.get(kind, _json_lines)(path)


def _json_lines(path: Path) -> Iterator[Line]:
    with path.open("rb") as file:
        for number, line in enumerate(_bounded_lines(file), 1):
            text = line.removeprefix(b"\xef\xbb\xbf").strip()
            if text:
                yield _json_line(number, text)


def _bounded_lines(file: IO[bytes]) -> Iterator[bytes]:
    while line := file.readline(_LONGEST_LINE + 1):
        if len(line) > _LONGEST_LINE:
            raise RuleError(
                f"A line is longer than {_LONGEST_LINE} bytes: is it JSON "
                "Lines, one object a line?"
            )
        yield line


def _json_line(number: int, text: bytes) -> Line:
    try:
        return Line(number, len(text), read_body(_Row, text, "ignore").root)
    except RequestValidationError as error:
        return Line(number, len(text), problem=reason_of(error))
    except TooLargeError as error:
        return Line(number, len(text), problem=str(error))


def _csv_lines(path: Path) -> Iterator[Line]:
    # The limit is the process's; the library's own is 128 KiB.
    csv.field_size_limit(_LONGEST_LINE)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            names = next(reader, None)
            if not names or len(set(names)) < len(names):
                raise RuleError(
                    "The first line must name the columns, each once"
                )
            for values in reader:
                if values:
                    yield _csv_line(reader.line_num, names, values)
        except csv.Error as error:
            yield Line(reader.line_num, 0, problem=str(error))
        except UnicodeDecodeError:
            number = reader.line_num + 1
            yield Line(number, 0, problem="this or a later line is not UTF-8")


def _csv_line(number: int, names: list[str], values: list[str]) -> Line:
    if len(values) != len(names):
        return Line(
            number,
            0,
            problem=f"has {len(values)} values for {len(names)} columns",
        )
    size = sum(map(len, values))
    return Line(number, size, dict(zip(names, values, strict=True)))


class ParquetConverter:
    """Turns Parquet into JSON Lines, in a process of its own.

    What a Parquet file unfolds to cannot be known beforehand: the process
    is limited in time, memory and output.
    """

    def __init__(self) -> None:
        self._calls: LimitedCalls | None = None

    async def convert(self, source: Path, target: Path, limit: int) -> None:
        """Write the rows of `source` to `target`, at most `limit` bytes.

        Raises:
            RuleError: it is no Parquet, too large, or cannot be read here.
        """
        if importlib.util.find_spec("arro3") is None:
            raise RuleError(_NO_PARQUET)
        if self._calls is None:
            self._calls = LimitedCalls(
                [_CONVERTER], seconds=_PARQUET_SECONDS, processes=1
            )
        try:
            await self._calls.run(
                f"{_CONVERTER}:convert", str(source), str(target), limit
            )
        except CallFailedError as error:
            raise RuleError(f"The Parquet file: {error}") from None
        except LimitExceededError as error:
            raise RuleError(f"Reading the Parquet file {error}") from None
