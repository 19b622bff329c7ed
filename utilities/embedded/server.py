"""The embedded database's process: MongoDB's wire protocol over SQLite.

`python -m utilities.embedded.server --data-dir DIR [--port N]` keeps its
databases in DIR/db and its log in DIR/database.log, and writes one line
`{"port": N}` to stdout when it accepts connections. It ends on SIGTERM and
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
import sqlite3
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from logging.handlers import RotatingFileHandler
from pathlib import Path

from filelock import FileLock
from nx_27017.server import handle_client

from utilities.embedded.handler import DurableHandler
from utilities.interpreter import collect_seldom

_LOG = logging.getLogger(__name__)

# Commands on one database wait for each other inside a thread. There must
# be threads left for the heartbeats, or clients take the server for dead.
_THREADS = 64
# How long a server that is ending may keep the files from its successor.
_PREDECESSOR_SECONDS = 10.0


class UnreadableDatabaseError(Exception):
    """A file in the data directory is not a usable database."""

    def __init__(self, path: Path, reason: object) -> None:
        super().__init__(
            f"{path} is not a readable database ({reason}). If it is "
            f"damaged, put a backup in its place, or move it away with its "
            f"-wal and -shm files to start empty."
        )


def check_databases(directory: Path) -> None:
    """Read every database's schema, which also replays its journal.

    Raises:
        UnreadableDatabaseError: names the first file that is damaged.
    """
    for path in sorted(directory.glob("*.db")):
        try:
            with contextlib.closing(sqlite3.connect(path)) as connection:
                connection.execute("SELECT count(*) FROM sqlite_master")
        except sqlite3.DatabaseError as error:
            raise UnreadableDatabaseError(path, error) from error


class Server:
    """Serves one handler until it is told to stop."""

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
        announcement = {"port": listener.sockets[0].getsockname()[1]}
        sys.stdout.write(json.dumps(announcement) + "\n")
        sys.stdout.flush()
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
        # A cancelled client is the stop's doing and nobody's error.
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
    options = _parse(arguments)
    directory: Path = options.data_dir / "db"
    directory.mkdir(parents=True, exist_ok=True)
    _log_to(options.data_dir / "database.log")
    lock = FileLock(options.data_dir / "database.lock", fallback_to_soft=False)
    try:
        with lock.acquire(timeout=_PREDECESSOR_SECONDS):
            check_databases(directory)
            collect_seldom()
            asyncio.run(_serve(directory, options.port))
    except (UnreadableDatabaseError, sqlite3.Error, OSError) as error:
        _LOG.critical("The database cannot be served: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
