"""The output of `metasync run`: one JSON object a line, as they come."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self, TextIO

from cli.errors import CommandError
from utilities import payload

PROCESSED = "PROCESSED"

Row = dict[str, Any]


class ResultsFile:
    """Appends results; what an earlier run got is kept.

    Failures of an earlier run are dropped: their lines are run again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.kept: dict[str, Row] = {}
        self._file: TextIO | None = None

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists():
            self.kept = {row["key"]: row for row in self._read()}
            self._rewrite(self.kept.values())
        self._file = self._path.open("a", encoding="utf-8")
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, rows: Iterable[Row]) -> None:
        """Append rows; they are on disk when this returns."""
        assert self._file is not None  # noqa: S101 - used inside `with` only
        self._file.writelines(f"{payload.dump(row)}\n" for row in rows)
        self._file.flush()
        os.fsync(self._file.fileno())

    def _read(self) -> Iterable[Row]:
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                row = payload.load(line)
            except ValueError:
                continue  # the last line of a run that was killed
            if not (isinstance(row, dict) and "key" in row):
                raise CommandError(
                    f"{self._path} exists and is not a results file of "
                    "`metasync run`; choose another --out"
                )
            if row.get("status") == PROCESSED:
                yield row

    def _rewrite(self, rows: Iterable[Row]) -> None:
        temporary = self._path.with_name(f"{self._path.name}.tmp")
        with temporary.open("w", encoding="utf-8") as file:
            file.writelines(f"{payload.dump(row)}\n" for row in rows)
        temporary.replace(self._path)
