"""Parquet and Arrow files as JSON Lines; needs the optional library `arro3`.

What a file unfolds to cannot be known beforehand: call `convert` in a
process with limits, see `utilities.limited`.
"""

from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Any

from typing_extensions import Buffer

_ARROW_FILE = b"ARROW1"


class _Bounded(FileIO):
    """A new file that refuses to become larger than its limit."""

    def __init__(self, path: str, limit: int) -> None:
        super().__init__(path, "w")
        self._left = limit

    def write(self, data: Buffer, /) -> int:
        self._left -= memoryview(data).nbytes
        if self._left < 0:
            raise ValueError("its rows are larger than a dataset may be")
        return super().write(data)


def convert(source: str, target: str, limit: int) -> None:
    """Write the rows of a Parquet file as JSON Lines, up to `limit` bytes.

    Raises:
        ValueError: says what is wrong.
    """
    from arro3.io import read_parquet  # noqa: PLC0415 - an optional library

    _convert(lambda: read_parquet(source), target, limit)


def convert_arrow(source: str, target: str, limit: int) -> None:
    """Do the same with an Arrow file (Feather 2), or a stream of Arrow.

    Raises:
        ValueError: says what is wrong.
    """
    from arro3.io import (  # noqa: PLC0415 - an optional library
        read_ipc,
        read_ipc_stream,
    )

    with Path(source).open("rb") as file:
        is_file = file.read(len(_ARROW_FILE)) == _ARROW_FILE
    read = read_ipc if is_file else read_ipc_stream
    _convert(lambda: read(source), target, limit)


def _convert(read: Callable[[], Any], target: str, limit: int) -> None:
    from arro3.io import write_ndjson  # noqa: PLC0415 - as above

    try:
        with _Bounded(target, limit) as file:
            write_ndjson(read(), file)
    except BaseException as error:  # noqa: BLE001 - see below
        # The library has errors of its own for each kind of damage, which
        # are not all `Exception`s, and wraps those of the file.
        raise ValueError(f"cannot be read: {str(error)[:200]}") from None
