"""Serves a simulation on a socket."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from provider_simulator.http_connection import HttpConnection
from provider_simulator.routes import BASE_PATHS, Routes
from provider_simulator.settings import SimulatorError
from provider_simulator.simulation import Simulation

# Clients that connect at the same moment.
_BACKLOG = 4096
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a simulator listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """The address as the beginning of a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def base_urls(self) -> dict[str, str]:
        """Return what to put into a model's `endpoint`, by its `sdk`."""
        return {sdk: self.url + path for sdk, path in BASE_PATHS.items()}


@asynccontextmanager
async def serving(
    simulation: Simulation, host: str, port: int
) -> AsyncIterator[Address]:
    """Serve until the block ends; port 0 is a free one.

    Raises:
        SimulatorError: the address cannot be had.
    """
    routes = Routes(simulation)
    connections: set[HttpConnection] = set()
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(
            lambda: HttpConnection(routes, connections),
            host,
            port,
            backlog=_BACKLOG,
        )
    except OSError as error:
        reason = error.strerror or error
        raise SimulatorError(
            f"Cannot listen on {host}, port {port}: {reason}"
        ) from None
    try:
        yield Address(host, server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for connection in list(connections):
            connection.abort()


def end_signal(signals: Iterable[int] = _SIGNALS) -> asyncio.Event:
    """Return what is set when a signal to end comes; main thread only."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in signals:
        # `nohup` has SIGHUP ignored, a shell's `&` SIGINT: both on purpose.
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, ended.set)
    return ended
