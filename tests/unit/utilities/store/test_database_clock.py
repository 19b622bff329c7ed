import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from pymongo.errors import AutoReconnect

from tests.support.mongoeco_server import PYTHON, mongoeco_server
from utilities.clock import now_ms, to_datetime
from utilities.cosmos_connector import ClientManager
from utilities.store.database_clock import ClockKeeper, DatabaseClock

WALL = 1_700_000_000_000
SERVER = datetime(2026, 1, 2, 3, 4, 5, 678_000)  # noqa: DTZ001 - as the driver gives it
SERVER_MS = 1_767_323_045_678


class Timer:
    """Stands still until it is moved; in ms."""

    now = 5_000.0

    def __call__(self) -> float:
        return self.now


class Server:
    """Answers `hello` with one thing after the other."""

    def __init__(self, *replies: Any) -> None:
        self.replies = list(replies)
        self.asked = 0
        self.travel: Callable[[], None] = lambda: None

    async def hello(self) -> dict[str, Any]:
        self.asked += 1
        self.travel()
        reply = self.replies.pop(0) if len(self.replies) > 1 else None
        reply = reply or self.replies[0]
        if isinstance(reply, Exception):
            raise reply
        return dict(reply)


def clock_of(timer: Timer, wall: Callable[[], int] = lambda: WALL) -> Any:
    return DatabaseClock(own=wall, timer=timer)


async def test_before_it_was_measured_it_is_the_machines_own() -> None:
    assert clock_of(Timer())() == WALL


@pytest.mark.parametrize("reply", [{}, {"localTime": "noon"}])
async def test_a_server_that_does_not_tell_leaves_the_machines_own(
    reply: dict[str, Any],
) -> None:
    clock = clock_of(Timer())
    await clock.measure(Server(reply))
    assert clock() == WALL


@pytest.mark.parametrize(
    "told",
    [
        SERVER,
        SERVER.replace(tzinfo=UTC),
        (SERVER + timedelta(hours=2)).replace(
            tzinfo=timezone(timedelta(hours=2))
        ),
    ],
)
async def test_it_gives_the_servers_time(told: datetime) -> None:
    timer = Timer()
    clock = clock_of(timer)
    await clock.measure(Server({"localTime": told}))
    assert clock() == SERVER_MS
    timer.now += 1_234
    assert clock() == SERVER_MS + 1_234


def away(timer: Timer, milliseconds: float) -> Any:
    server = Server({"localTime": SERVER})

    def travel() -> None:
        timer.now += milliseconds

    server.travel = travel
    return server


async def test_it_takes_the_middle_of_question_and_answer() -> None:
    timer = Timer()
    clock = clock_of(timer)
    await clock.measure(away(timer, 400))
    assert clock() == SERVER_MS + 200


async def test_an_answer_that_took_long_says_nothing() -> None:
    timer = Timer()
    clock = clock_of(timer)
    await clock.measure(away(timer, 1_001))
    assert clock() == WALL


async def test_setting_the_machines_time_moves_nothing() -> None:
    wall = [WALL]
    clock = DatabaseClock(own=lambda: wall[0], timer=Timer())
    server: Any = Server({"localTime": SERVER})
    await clock.measure(server)
    wall[0] += 3_600_000
    assert clock() == SERVER_MS


async def test_the_keeper_goes_on_when_the_database_is_away() -> None:
    server: Any = Server(AutoReconnect("away"), {"localTime": SERVER})
    clock = clock_of(Timer())
    keeper = ClockKeeper(clock, server)
    task = asyncio.create_task(keeper.run())
    while server.asked < 2:
        await asyncio.sleep(0)
        keeper.wake()
    assert clock() == SERVER_MS
    keeper.stop()
    await task


async def ask(address: str) -> int:
    clients = ClientManager(address, "clock")
    # As on a machine whose clock is five minutes slow.
    clock = DatabaseClock(own=lambda: now_ms() - 300_000)
    await clock.measure(clients)
    await clients.close()
    return clock()


async def test_the_embedded_server_tells_its_time(database: str) -> None:
    assert abs(await ask(database) - now_ms()) < 1_000


@pytest.mark.skipif(not PYTHON.exists(), reason="mongoeco needs Python 3.13")
async def test_an_independent_server_tells_its_time() -> None:
    with mongoeco_server() as address:
        told = await ask(address)
    assert abs(told - now_ms()) < 5_000, to_datetime(told)
