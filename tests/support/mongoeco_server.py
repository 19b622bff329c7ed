"""A second server that speaks MongoDB's protocol, as a child process.

`mongoeco` checks its results against MongoDB 7, 8 and 9: a second opinion
on every query of ours. It needs Python 3.13, so it has an environment of
its own, which `make test` makes where such a Python is at hand.
"""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PYTHON = Path(__file__).resolve().parents[2] / ".venv/mongoeco/bin/python"


@contextmanager
def mongoeco_server() -> Iterator[str]:
    """Run the server until the block ends; yield its address."""
    process = subprocess.Popen(
        [str(PYTHON), __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


async def _serve() -> None:
    from mongoeco.wire import AsyncMongoEcoProxyServer  # noqa: PLC0415 - only in the child's environment

    server = AsyncMongoEcoProxyServer(mongodb_dialect="8.0")
    await server.start()
    sys.stdout.write(f"{server.address.uri}\n")
    sys.stdout.flush()
    # Until the parent closes the pipe, or dies.
    await asyncio.to_thread(sys.stdin.read)
    await server.close()


if __name__ == "__main__":
    asyncio.run(_serve())
