"""Datasets from uploaded files, in bounded memory.

A file is first written to the disk as it comes in, then read row by row
in a thread, so that other requests go on.
"""

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi.exceptions import RequestValidationError

from api.core.errors import OverloadedError, TooLargeError
from api.models.dataset_models import (
    Dataset,
    DatasetColumns,
    DatasetItemInput,
)
from api.services.datasets.dataset_service import DatasetService
from api.services.datasets.files import (
    FileKind,
    Line,
    ParquetConverter,
    lines_of,
)
from api.services.datasets.items import ItemError, item_of
from api.services.shared.caller import Caller

# Each has a file on the disk, and a thread.
_AT_ONCE = 4
# Rows that a thread reads before other requests have their turn.
_ROWS, _BYTES = 200, 1024 * 1024
_FOLDER, _LEFT_SECONDS = "upload-", 86_400
# Wrong lines that are named.
_MOST_PROBLEMS = 50


class DatasetUpload:
    """Takes files in; one for a process."""

    def __init__(
        self, datasets: DatasetService, most_bytes: int, data_dir: Path
    ) -> None:
        self._datasets = datasets
        self._most_bytes = most_bytes
        self._data_dir = data_dir
        self._parquet = ParquetConverter()
        self._running = 0

    async def create(
        self,
        name: str,
        kind: FileKind,
        columns: DatasetColumns,
        body: AsyncIterable[bytes],
        caller: Caller,
    ) -> Dataset:
        """Store a dataset of a file's rows.

        Raises:
            RequestValidationError: names the lines that are wrong.
            TooLargeError: the file is larger than one may be.
            OverloadedError: too many files are being uploaded.
            RuleError: the file as a whole cannot be used.
        """
        caller.require_client()
        async with self._folder() as folder:
            file = folder / "upload"
            await self._receive(body, file)
            if kind is FileKind.PARQUET:
                source, file = file, folder / "rows"
                await self._parquet.convert(source, file, self._most_bytes)
            items = _items_of(lines_of(kind, file), columns)
            return await self._datasets.add(name, items, caller)

    @asynccontextmanager
    async def _folder(self) -> AsyncIterator[Path]:
        if self._running >= _AT_ONCE:
            raise OverloadedError(
                "Too many files are being uploaded; try again"
            )
        self._running += 1
        try:
            folder = await asyncio.to_thread(self._new_folder)
            try:
                yield folder
            finally:
                await asyncio.to_thread(shutil.rmtree, folder)
        finally:
            self._running -= 1

    def _new_folder(self) -> Path:
        # Not the system's own: a container may have no other to write to.
        self._data_dir.mkdir(parents=True, exist_ok=True)
        for left in self._data_dir.glob(f"{_FOLDER}*"):
            # Of a process that was killed.
            if time.time() - left.stat().st_mtime > _LEFT_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
        return Path(tempfile.mkdtemp(prefix=_FOLDER, dir=self._data_dir))

    async def _receive(self, body: AsyncIterable[bytes], file: Path) -> None:
        size = 0
        with file.open("wb") as target:
            async for chunk in body:
                size += len(chunk)
                if size > self._most_bytes:
                    raise TooLargeError(
                        f"The limit is {self._most_bytes} bytes a dataset"
                    )
                await asyncio.to_thread(target.write, chunk)


async def _items_of(
    lines: Iterator[Line], columns: DatasetColumns
) -> AsyncIterator[DatasetItemInput]:
    """Give the items of a file; after a wrong line, only look for more.

    Raises:
        RequestValidationError: names the wrong lines.
    """
    problems: list[tuple[int, str]] = []
    while read := await asyncio.to_thread(_read_some, lines, columns):
        for number, item in read:
            if isinstance(item, str):
                problems.append((number, item))
            elif not problems:
                yield item
        if len(problems) >= _MOST_PROBLEMS:
            break
    if problems:
        raise _wrong_lines(problems[:_MOST_PROBLEMS])


def _read_some(
    lines: Iterator[Line], columns: DatasetColumns
) -> list[tuple[int, DatasetItemInput | str]]:
    read: list[tuple[int, DatasetItemInput | str]] = []
    size = 0
    for line in lines:
        read.append((line.number, _item_or_problem(line, columns)))
        size += line.size
        if len(read) >= _ROWS or size >= _BYTES:
            break
    return read


def _item_or_problem(
    line: Line, columns: DatasetColumns
) -> DatasetItemInput | str:
    if line.row is None:
        return line.problem or "cannot be read"
    try:
        return item_of(line.row, columns)
    except ItemError as error:
        return str(error)


def _wrong_lines(
    problems: list[tuple[int, str]],
) -> RequestValidationError:
    return RequestValidationError(
        [
            {
                "type": "dataset_line",
                "loc": ("body", f"line {number}"),
                "msg": f"line {number}: {problem}; nothing was stored",
            }
            for number, problem in problems
        ]
    )
