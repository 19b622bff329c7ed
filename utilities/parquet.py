"""Parquet as JSON Lines; needs the optional library `arro3`.

What a file unfolds to cannot be known beforehand: call `convert` in a
process with limits, see `utilities.limited`.
"""

from io import FileIO

from typing_extensions import Buffer


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
    """Write the rows of `source` as JSON Lines, at most `limit` bytes.

    Raises:
        ValueError: says what is wrong.
    """
    from arro3.io import (  # noqa: PLC0415 - an optional library
        read_parquet,
        write_ndjson,
    )

    try:
        with _Bounded(target, limit) as file:
            write_ndjson(read_parquet(source), file)
    except BaseException as error:  # noqa: BLE001 - see below
        # The library has errors of its own for each kind of damage, which
        # are not all `Exception`s, and wraps those of the file.
        raise ValueError(f"cannot be read: {str(error)[:200]}") from None
