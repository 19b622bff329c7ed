"""Connections to the database: one client per event loop."""

import asyncio
import contextlib
import logging
import threading
from typing import Any
from weakref import WeakKeyDictionary

from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure

from utilities.embedded.space import GIVE_SPACE_BACK

Document = dict[str, Any]

# No operation of ours takes so long on a healthy server.
_LONGEST_ANSWER_MS = 30_000


class ClientManager:
    """Hands out one asynchronous client per event loop.

    pymongo's asynchronous client belongs to the loop it was made on; each
    worker thread has a loop, and so a client, of its own.
    """

    def __init__(
        self, connection_string: str, db_name: str, timeout_seconds: float = 4
    ) -> None:
        """Take the address; nothing is connected before it is needed.

        `timeout_seconds` is how long an operation looks for a server that
        cannot be reached.
        """
        # At DEBUG, the driver logs commands with prompts and answers.
        logging.getLogger("pymongo").setLevel(logging.INFO)
        self._connection_string = connection_string
        self._db_name = db_name
        self._timeout_ms = round(timeout_seconds * 1000)
        self._lock = threading.Lock()
        self._clients: WeakKeyDictionary[
            asyncio.AbstractEventLoop, AsyncMongoClient[Document]
        ] = WeakKeyDictionary()

    def database(self) -> AsyncDatabase[Document]:
        """Return the database by the running loop's client."""
        loop = asyncio.get_running_loop()
        with self._lock:
            client = self._clients.get(loop)
            if client is None:
                client = self._clients[loop] = AsyncMongoClient(
                    self._connection_string,
                    appname="metasync",
                    connectTimeoutMS=self._timeout_ms,
                    serverSelectionTimeoutMS=self._timeout_ms,
                    # Some firewalls drop an idle connection silently.
                    socketTimeoutMS=_LONGEST_ANSWER_MS,
                    # A server may accept the driver's retries and not
                    # recognize them. Ours know their own writes.
                    retryWrites=False,
                )
        return client[self._db_name]

    async def ping(self) -> None:
        """Check that the server answers.

        Raises:
            StoreError: it did not.
        """
        await self.database().command("ping")

    async def hello(self) -> Document:
        """Ask the server (the primary of a replica set) what it is.

        Raises:
            StoreError: it did not answer.
        """
        return await self.database().client.admin.command("hello")

    async def give_space_back(self) -> None:
        """Have the embedded database give free space to the disk.

        Other servers use it again, and have no such command.

        Raises:
            StoreError: the database is away.
        """
        with contextlib.suppress(OperationFailure):
            while (await self.database().command(GIVE_SPACE_BACK))["left"]:
                pass

    async def close(self) -> None:
        """Close the running loop's client, if it has one."""
        with self._lock:
            client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()
