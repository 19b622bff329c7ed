"""Rows of files as people have them: JSON Lines, CSV, TSV, Parquet, Arrow.

Compressed by gzip, zstd or not, from standard input, one file or several.
"""

import csv
import glob
import gzip
import importlib.util
import io
import re
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from cli.errors import CommandError, reason
from cli.packing import zstd
from cli.text_file import decode
from utilities import payload

STDIN = Path("-")
_PLACE = re.compile(r"(.*) at line \d+ column (\d+)")
# The library's own limit is 128 KiB.
_LONGEST_FIELD = 16 * 1024 * 1024
_MOST_BYTES = 4 * 1024 * 1024 * 1024
_GZIP, _ZSTD = ".gz", ".zst"
_GZIP_MARK, _ZSTD_MARK = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_GLOB = re.compile(r"[*?\[]")

Fields = dict[str, Any]


class Kind(StrEnum):
    """How rows are written."""

    JSONL = "jsonl"
    CSV = "csv"
    TSV = "tsv"
    PARQUET = "parquet"
    ARROW = "arrow"

    @property
    def is_binary(self) -> bool:
        """Whether it is read and written by a library that is optional."""
        return self in (Kind.PARQUET, Kind.ARROW)


_BY_SUFFIX = {
    ".jsonl": Kind.JSONL,
    ".ndjson": Kind.JSONL,
    ".json": Kind.JSONL,
    ".csv": Kind.CSV,
    ".tsv": Kind.TSV,
    ".tab": Kind.TSV,
    ".parquet": Kind.PARQUET,
    ".pq": Kind.PARQUET,
    ".arrow": Kind.ARROW,
    ".feather": Kind.ARROW,
    ".ipc": Kind.ARROW,
    ".arrows": Kind.ARROW,
}


@dataclass(frozen=True, slots=True)
class InputRow:
    """A row, and the number of its line; or what is wrong with it.

    `file` is its file's name if there are several.
    """

    line: int
    fields: Fields
    file: str | None = None
    problem: str | None = None


def packing_of(path: Path) -> str | None:
    """Tell by a file's name how it is compressed: `.gz`, `.zst` or None."""
    suffix = path.suffix.lower()
    return suffix if suffix in (_GZIP, _ZSTD) else None


def kind_of(path: Path) -> Kind:
    """Tell by a file's name how its rows are written."""
    suffixes = [each.lower() for each in path.suffixes]
    if packing_of(path):
        suffixes.pop()
    return _BY_SUFFIX.get(suffixes[-1] if suffixes else "", Kind.JSONL)


def expanded(sources: Sequence[Path]) -> list[Path]:
    """Give the files of names with `*`, `?` and `[...]`, in their order.

    Raises:
        CommandError: such a name stands for no file, or one comes twice.
    """
    found: list[Path] = []
    for source in sources:
        text = str(source)
        if source.exists() or not _GLOB.search(text):
            found.append(source)
            continue
        # Not Path.glob(): the name may begin with a directory.
        names = glob.glob(text, recursive=True)  # noqa: PTH207
        matches = sorted(Path(each) for each in names)
        if not matches:
            raise CommandError(f"No file is called {text}")
        found += matches
    twice = {str(each) for each in found if found.count(each) > 1}
    if twice:
        raise CommandError(f"{min(twice)} is given twice")
    return found


def read_rows(
    sources: Sequence[Path], kind: Kind | None = None
) -> Iterator[InputRow]:
    """Read rows, file after file; `kind` says how, in place of the names.

    Raises:
        CommandError: a file cannot be read at all.
    """
    several = len(sources) > 1
    for source in sources:
        read = _READERS[kind or kind_of(source)]
        name = str(source) if several else None
        for line, fields, problem in read(source):
            yield InputRow(line, fields, name, problem)


_Rows = Iterator[tuple[int, Fields, str | None]]


def _jsonl(source: Path) -> _Rows:
    # Not splitlines(): JSON may hold what other alphabets end lines with.
    for number, line in enumerate(_text(source).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            fields = payload.load(line)
            if not isinstance(fields, dict):
                raise ValueError("not a JSON object")  # noqa: TRY004, TRY301 - as bad JSON
        except ValueError as error:
            yield number, {}, _explain(error)
        else:
            yield number, fields, None


def _explain(error: ValueError) -> str:
    if place := _PLACE.fullmatch(str(error)):
        return f"not valid JSON at column {place[2]}: {place[1]}"
    return str(error)


def _csv(source: Path) -> _Rows:
    return _separated(source, ",")


def _tsv(source: Path) -> _Rows:
    return _separated(source, "\t")


def _separated(source: Path, delimiter: str) -> _Rows:
    csv.field_size_limit(_LONGEST_FIELD)
    text = _text(source)
    if delimiter == ",":
        delimiter = _delimiter(text)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    try:
        names = next((each for each in reader if each), None)
        if names is None:
            return
        _check_names(source, names)
        for values in reader:
            if not values:
                continue
            problem = None
            if len(values) != len(names):
                problem = f"{len(values)} values for {len(names)} columns"
            yield reader.line_num, dict(zip(names, values)), problem  # noqa: B905 - told above
    except csv.Error as error:
        yield reader.line_num, {}, str(error)


def _delimiter(text: str) -> str:
    """Tell what separates columns: spreadsheets also write semicolons."""
    first = text.partition("\n")[0]
    return ";" if ";" in first and "," not in first else ","


def _check_names(source: Path, names: Sequence[str]) -> None:
    twice = [each for each in names if names.count(each) > 1]
    if twice or "" in names:
        wrong = f"{twice[0]!r} twice" if twice else "a column without a name"
        raise CommandError(
            f"The first line of {source} must name the columns: it has {wrong}"
        )


def check_library(kind: Kind) -> None:
    """Make sure that there is what reads and writes this kind.

    Raises:
        CommandError: it is not installed.
    """
    if kind.is_binary and importlib.util.find_spec("arro3") is None:
        raise CommandError(
            f"{kind.capitalize()} needs a library that is not installed: "
            "pip install 'metasync[parquet]'"
        )


def _parquet(source: Path) -> _Rows:
    from utilities.parquet import convert  # noqa: PLC0415 - optional

    check_library(Kind.PARQUET)
    return _converted(source, convert)


def _arrow(source: Path) -> _Rows:
    from utilities.parquet import convert_arrow  # noqa: PLC0415 - as above

    check_library(Kind.ARROW)
    return _converted(source, convert_arrow)


def _converted(
    source: Path, convert: Callable[[str, str, int], None]
) -> _Rows:
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory) / "rows.jsonl"
        try:
            convert(str(source), str(target), _MOST_BYTES)
        except (OSError, ValueError) as error:
            raise CommandError(f"{source}: {error}") from None
        with target.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                yield number, payload.load(line), None


_READERS = {
    Kind.JSONL: _jsonl,
    Kind.CSV: _csv,
    Kind.TSV: _tsv,
    Kind.PARQUET: _parquet,
    Kind.ARROW: _arrow,
}


def _text(source: Path) -> str:
    """Read a text file, compressed or not, or standard input.

    Raises:
        CommandError: it cannot be read, or is no text.
    """
    where = "standard input" if source == STDIN else str(source)
    try:
        if source == STDIN:
            content = sys.stdin.buffer.read()
        else:
            content = source.read_bytes()
        if content.startswith((_GZIP_MARK, _ZSTD_MARK)):
            content = _unpacked(content)
        text = decode(content)
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"Cannot read {where}: {reason(error)}") from None
    except (EOFError, zlib.error, zstd.ZstdError):
        raise CommandError(f"{where} is no whole compressed file") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _unpacked(content: bytes) -> bytes:
    packed = io.BytesIO(content)
    is_gzip = content.startswith(_GZIP_MARK)
    with gzip.GzipFile(fileobj=packed) if is_gzip else zstd.open(packed) as f:
        found = f.read(_MOST_BYTES + 1)
    if len(found) > _MOST_BYTES:
        raise CommandError(
            f"The file unfolds to more than {_MOST_BYTES:,} bytes: split it"
        )
    return found
