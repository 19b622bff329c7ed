import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from bson import Int64
from hypothesis import given
from hypothesis import strategies as st
from pymongo.errors import AutoReconnect

from tests.support.mongoeco_server import PYTHON, mongoeco_server
from tests.support.samples import logged
from utilities.clock import now_ms, to_datetime
from utilities.cosmos_connector import ClientManager
from utilities.store import database_clock as module
from utilities.store.database_clock import Bridge, ClockKeeper, DatabaseClock

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
        SERVER_MS,
        Int64(SERVER_MS),
    ],
)
async def test_it_gives_the_servers_time(told: datetime | int) -> None:
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


HOUR = 3_600_000


class Record:
    """What processes tell each other of a jump."""

    def __init__(self) -> None:
        self.bridge: Bridge | None = None
        self.writes = 0

    async def read(self) -> Bridge | None:
        return self.bridge

    async def write(self, bridge: Bridge) -> None:
        self.bridge = bridge
        self.writes += 1


class Jumping:
    """A server whose clock goes with a timer, until it is set."""

    def __init__(self, timer: Timer) -> None:
        self.timer = timer
        self.set_by = 0.0

    async def hello(self) -> dict[str, Any]:
        return {"localTime": int(self.timer.now + self.set_by) + SERVER_MS}


@pytest.mark.parametrize("jump", [HOUR, -HOUR, 10_000, -10_000])
async def test_setting_the_databases_clock_changes_no_duration(
    jump: int,
) -> None:
    timer = Timer()
    server: Any = Jumping(timer)
    clock, record = clock_of(timer), Record()
    await clock.measure(server, record)
    before = clock()
    server.set_by = jump
    for seconds in range(1, 61):
        timer.now += 1000
        await clock.measure(server, record)
        passed = clock() - before
        assert abs(passed - seconds * 1000) <= 0.11 * seconds * 1000
    assert record.writes == 1


async def test_the_difference_is_worked_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events = logged(monkeypatch, module)
    timer = Timer()
    server: Any = Jumping(timer)
    clock = clock_of(timer)
    await clock.measure(server)
    server.set_by = HOUR
    for _ in range(13 * 720):
        timer.now += 5000
        await clock.measure(server)
    assert clock() == SERVER_MS + timer.now + HOUR
    jumps = [e for e in events if e["event"] == "clock_jumped"]
    assert [event["seconds"] for event in jumps] == [3600.0]


async def test_all_processes_have_the_same_time_after_a_jump() -> None:
    timer = Timer()
    server: Any = Jumping(timer)
    record = Record()
    one, two = clock_of(timer), clock_of(timer)
    for clock in (one, two):
        await clock.measure(server, record)
    server.set_by = -HOUR
    timer.now += 3000
    await one.measure(server, record)
    timer.now += 3000
    # One that sees the jump later, and one that starts now.
    new = clock_of(timer)
    for clock in (two, new, one):
        await clock.measure(server, record)
    assert abs(one() - two()) <= 1
    assert abs(one() - new()) <= 1
    assert record.writes == 1
    assert abs(new() - (SERVER_MS + timer.now)) < 1000


async def test_a_small_correction_is_taken_at_once() -> None:
    timer = Timer()
    server: Any = Jumping(timer)
    clock, record = clock_of(timer), Record()
    await clock.measure(server, record)
    server.set_by = 500.0
    await clock.measure(server, record)
    assert clock() == SERVER_MS + timer.now + 500
    assert record.writes == 0


async def test_without_a_server_the_machines_clock_may_jump_as_well() -> None:
    wall, timer = [WALL], Timer()
    clock = DatabaseClock(own=lambda: wall[0], timer=timer)
    wall[0] += HOUR
    timer.now += 10
    assert clock() == WALL + 10


async def test_a_clock_that_cannot_be_had_is_said_once_and_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events = logged(monkeypatch, module)
    server: Any = Server({})
    keeper = ClockKeeper(clock_of(Timer()), server)
    task = asyncio.create_task(keeper.run())
    while server.asked < 3:
        await asyncio.sleep(0)
        keeper.wake()
    assert "does not give its time" in (keeper.problem or "")
    assert not keeper.vital
    assert [event["event"] for event in events] == ["clock_unknown"]
    server.replies = [{"localTime": SERVER_MS}]
    while keeper.problem:
        await asyncio.sleep(0)
        keeper.wake()
    keeper.stop()
    await task


@given(
    st.lists(
        st.tuples(
            st.floats(10, 60_000), st.sampled_from([0, HOUR, -HOUR, 7_000])
        ),
        max_size=30,
    )
)
async def test_time_never_runs_backwards_nor_much_too_fast(
    steps: list[tuple[float, int]],
) -> None:
    timer = Timer()
    server: Any = Jumping(timer)
    clock = clock_of(timer)
    await clock.measure(server)
    for passed, jump in steps:
        before = clock()
        timer.now += passed
        server.set_by += jump
        await clock.measure(server)
        assert 0 <= clock() - before <= 1.2 * passed + 2


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
