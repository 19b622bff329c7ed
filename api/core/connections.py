"""How many connections a server has, and how long each may take."""

import asyncio
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Protocol


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What connections may take; seconds and bytes."""

    head_bytes: int = 64 * 1024
    # From the connection, or a request's first byte, to the end of its head.
    head_seconds: float = 10.0
    # Between two requests. uvicorn's own timer is shorter, but does not run
    # after a body that was not needed.
    idle_seconds: float = 15.0
    # A body may pause for the grace time, and is otherwise this fast.
    body_bytes_per_second: float = 1024.0
    body_grace_seconds: float = 10.0
    # A client that reads nothing of its answer for so long is gone.
    write_seconds: float = 60.0
    # The rest of a refused body is read for this time, so that the
    # client sees its answer and not a reset connection.
    linger_seconds: float = 2.0
    discard_bytes: int = 64 * 1024 * 1024
    connections: int = 4096
    # 0: no limit. Addresses of this machine have none: a proxy is one.
    connections_per_address: int = 512
    sweep_seconds: float = 0.5


class Phase(Enum):
    """What a connection is doing."""

    HEAD = auto()
    BODY = auto()
    ANSWER = auto()
    IDLE = auto()
    # The answer is sent; the rest of the body is read and forgotten.
    DISCARD = auto()
    # Refused, and closed by us; what still comes is forgotten.
    LINGER = auto()


QUIET: Final = (Phase.HEAD, Phase.IDLE)


class Connection(Protocol):
    """What the sweep needs of a connection."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop it is served in."""

    @property
    def address(self) -> str | None:
        """Whose it is, if addresses are limited."""

    def drop(self) -> None:
        """Close it at once."""

    def check(self, now: float) -> None:
        """Close it if it takes too long."""


class Connections:
    """All connections of one server, and the sweep over them."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self._all: set[Connection] = set()
        # Those without a request, the longest first.
        self._quiet: dict[Connection, None] = {}
        self._by_address: dict[str, int] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._all)

    @property
    def has_quiet(self) -> bool:
        """Tell whether a connection is without a request."""
        return bool(self._quiet)

    def admit(self, connection: Connection) -> bool:
        """Take a new connection in; False if there are too many.

        Where all places are taken, the connection that has been without a
        request for longest is closed.
        """
        if not self._has_place_for(connection.address):
            return False
        if len(self._all) >= self.limits.connections:
            oldest = next(iter(self._quiet), None)
            if oldest is None:
                return False
            oldest.drop()
        self._all.add(connection)
        self._quiet[connection] = None
        if address := connection.address:
            self._by_address[address] = self._by_address.get(address, 0) + 1
        if self._timer is None:
            self._plan(connection.loop)
        return True

    def forget(self, connection: Connection) -> None:
        """Take a connection out that has ended."""
        self._quiet.pop(connection, None)
        if connection not in self._all:
            return
        self._all.remove(connection)
        if address := connection.address:
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]

    def moved(self, connection: Connection, *, is_quiet: bool) -> None:
        """Note whether a connection has a request now."""
        self._quiet.pop(connection, None)
        if is_quiet and connection in self._all:
            self._quiet[connection] = None

    def _has_place_for(self, address: str | None) -> bool:
        most = self.limits.connections_per_address
        if not (address and most):
            return True
        return self._by_address.get(address, 0) < most

    def _plan(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(
            self.limits.sweep_seconds, self._sweep, loop
        )

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        for connection in list(self._all):
            connection.check(now)
        if self._all:
            self._plan(loop)
