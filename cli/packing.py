"""Compressed files: zstd comes with Python from 3.14 on."""

import gzip
import io
import sys
from pathlib import Path
from typing import IO, Any, cast

if sys.version_info >= (3, 14):  # pragma: no cover - by version
    from compression import zstd
else:
    from backports import zstd

__all__ = ["opened", "zstd"]


def opened(path: Path, packing: str | None) -> IO[bytes]:
    """Open a new file for bytes, compressed as its name says.

    What is written is on the disk only once it is closed.
    """
    if packing is None:
        return path.open("wb")
    if packing == ".gz":
        # Without a time, so that the same rows make the same file.
        file: Any = gzip.GzipFile(path, "wb", mtime=0)
    else:
        file = zstd.open(path, "wb")
    return cast("IO[bytes]", io.BufferedWriter(file))
