"""The embedded database's process: MongoDB's wire protocol over SQLite.

`python -m utilities.embedded.server --data-dir DIR [--port N]` keeps its
databases in DIR/db and its log in DIR/database.log, and writes one line
`{"port": N}` to stdout when it accepts connections, or `{"error": "..."}`
when it cannot serve. It ends on SIGTERM and
when its stdin ends, so that it never outlives the process that holds the
other end of that pipe. POSIX only.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from logging.handlers import RotatingFileHandler
from pathlib import Path

from filelock import FileLock
from neosqlite._sqlite import sqlite3
from nx_27017.server import handle_client

from utilities.embedded.handler import DurableHandler
from utilities.embedded.integrity import (
    UnusableDatabaseError,
    check_databases,
    check_writable,
)
from utilities.interpreter import collect_seldom, return_freed_memory

_LOG = logging.getLogger(__name__)

# Commands on one database wait for each other inside a thread. There must
# be threads left for the heartbeats, or clients take the server for dead.
_THREADS = 64
# How long a server that is ending may keep the files from its successor.
_PREDECESSOR_SECONDS = 10.0


class Server:
    """Serves one handler until it is stopped."""

    def __init__(self, handler: DurableHandler) -> None:
        self._handler = handler
        self._clients: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()

    async def run(self, port: int) -> None:
        """Accept clients on `port` (0: a free one) until `stop`."""
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(_THREADS))
        loop.add_signal_handler(signal.SIGTERM, self._stop.set)
        listener = await asyncio.start_server(
            self._serve_client, "127.0.0.1", port, backlog=512
        )
        watch_stdin(lambda: loop.call_soon_threadsafe(self._stop.set))
        _announce({"port": listener.sockets[0].getsockname()[1]})
        await self._stop.wait()
        listener.close()
        await self._leave_clients()
        # Commands that have begun end before the files are closed.
        await loop.shutdown_default_executor()

    async def _serve_client(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.ensure_future(
            handle_client(reader, writer, self._handler)
        )
        self._clients.add(task)
        task.add_done_callback(self._clients.discard)
        # A client that the stop has cancelled is not an error.
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def _leave_clients(self) -> None:
        for task in self._clients:
            task.cancel()
        if self._clients:
            await asyncio.wait(self._clients, timeout=2)


def watch_stdin(on_end: Callable[[], object]) -> None:
    """Call `on_end`, on a thread of its own, when stdin ends."""
    # A raw descriptor: a buffered stdin that is being read when the
    # interpreter ends is a fatal error.
    descriptor = sys.stdin.fileno()

    def wait() -> None:
        while os.read(descriptor, 1024):
            pass
        # The loop is closed already if SIGTERM came first.
        with contextlib.suppress(RuntimeError):
            on_end()

    threading.Thread(target=wait, name="stdin-watch", daemon=True).start()


async def _serve(directory: Path, port: int) -> None:
    handler = DurableHandler(data_dir=str(directory))
    try:
        await Server(handler).run(port)
    finally:
        # The last connection to a file checkpoints its journal.
        handler.close_all()


def _log_to(path: Path) -> None:
    # A full disk is reported by what needs it, not by every line of a log.
    logging.raiseExceptions = False
    handler = RotatingFileHandler(
        path, maxBytes=1_000_000, backupCount=2, encoding="utf-8"
    )
    logging.basicConfig(
        level=logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        handlers=[handler],
    )


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Serve; return the exit status."""
    # Ctrl-C reaches the whole process group: the parent decides the order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.umask(0o077)
    return_freed_memory()
    options = _parse(arguments)
    directory: Path = options.data_dir / "db"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _log_to(options.data_dir / "database.log")
    except OSError as error:
        _announce({"error": str(error)})
        return 1
    lock = FileLock(options.data_dir / "database.lock", fallback_to_soft=False)
    try:
        with lock.acquire(timeout=_PREDECESSOR_SECONDS):
            _check(directory)
            collect_seldom()
            asyncio.run(_serve(directory, options.port))
    except (UnusableDatabaseError, sqlite3.Error, OSError) as error:
        _LOG.critical("The database cannot be served: %s", error)
        # The log may be on the disk that is full.
        _announce({"error": str(error)})
        return 1
    return 0


def _check(directory: Path) -> None:
    check_writable(directory)
    for path in check_databases(directory):
        _LOG.warning(
            "%s is too large for a whole check at the start; `python -m "
            "utilities.embedded.integrity DATA_DIR` makes one.",
            path,
        )


def _announce(message: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
