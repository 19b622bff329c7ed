"""The watcher against a fake of the stream, which stands at its seam."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from pymongo.errors import AutoReconnect, OperationFailure

from tests.unit.utilities.test_signals import Listener
from utilities.signals import (
    RUNS_CHANGED,
    WORKERS_CHANGED,
    Signals,
    jobs_waiting,
)
from utilities.store import change_watcher
from utilities.store.change_feed import Change, Stream
from utilities.store.change_watcher import ChangeWatcher

NOW = 1_000_000
Script = Sequence[Change | Exception]


class FakeStream:
    """Tells what the script says, then nothing more."""

    def __init__(self, script: Script) -> None:
        self._script = list(script)
        self.closed = False

    async def next(self) -> Change | None:
        if not self._script:
            await asyncio.sleep(0.01)
            return None
        event = self._script.pop(0)
        if isinstance(event, Exception):
            raise event
        return event

    async def close(self) -> None:
        self.closed = True
        raise AutoReconnect("as the driver may")


class FakeFeed:
    """Gives one stream after the other; an error or None likewise."""

    def __init__(self, *streams: FakeStream | Exception | None) -> None:
        self._streams = list(streams)
        self.opened = 0

    async def open(self) -> Stream | None:
        self.opened += 1
        stream = self._streams.pop(0) if self._streams else None
        if isinstance(stream, Exception):
            raise stream
        return stream


@pytest.fixture
def signals() -> Signals:
    return Signals()


def listen(signals: Signals, topic: str) -> Listener:
    listener = Listener()
    signals.subscribe(topic, listener)
    return listener


@asynccontextmanager
async def watching(signals: Signals, feed: FakeFeed) -> AsyncIterator[None]:
    watcher = ChangeWatcher(feed, signals, lambda: NOW)
    task = asyncio.create_task(watcher.run())
    try:
        yield
    finally:
        watcher.stop()
        await asyncio.wait_for(task, 5)


async def calls(listener: Listener, count: int) -> None:
    for _ in range(1000):
        if listener.calls >= count:
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"{listener.calls} calls, not {count}")


async def test_what_changes_wakes_those_whom_it_concerns(
    signals: Signals,
) -> None:
    mine = listen(signals, jobs_waiting("me"))
    other = listen(signals, jobs_waiting("other"))
    workers = listen(signals, WORKERS_CHANGED)
    runs = listen(signals, RUNS_CHANGED)
    script = [
        *[Change("jobs", "me", NOW)] * 500,
        Change("workers"),
        Change("runs"),
        Change("jobs"),  # gone before it could be read
    ]
    async with watching(signals, FakeFeed(FakeStream(script))):
        # Once when the stream opens, and once for the whole batch.
        for listener in (mine, workers, runs):
            await calls(listener, 2)
        await asyncio.sleep(0.1)
    assert 2 <= mine.calls <= 4
    assert other.calls == 1


async def test_a_job_for_later_wakes_when_it_is_due(signals: Signals) -> None:
    mine = listen(signals, jobs_waiting("me"))
    script = [Change("jobs", "me", NOW + 300)] * 100
    started = asyncio.get_running_loop().time()
    async with watching(signals, FakeFeed(FakeStream(script))):
        await calls(mine, 2)
        assert asyncio.get_running_loop().time() - started >= 0.29


async def test_a_stream_that_breaks_is_opened_again_and_all_are_woken(
    signals: Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_watcher, "_FIRST_PAUSE_SECONDS", 0.01)
    mine = listen(signals, jobs_waiting("me"))
    lost = FakeStream([OperationFailure("history lost", 286)])
    feed = FakeFeed(
        lost, AutoReconnect("no primary"), FakeStream([Change("jobs", "me")])
    )
    async with watching(signals, feed):
        await calls(mine, 3)
    assert feed.opened == 3
    assert lost.closed


async def test_without_streams_it_waits_and_looks_again(
    signals: Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_watcher, "_NOT_AVAILABLE_SECONDS", 0.01)
    mine = listen(signals, jobs_waiting("me"))
    feed = FakeFeed(None, None, FakeStream([Change("jobs", "me")]))
    async with watching(signals, feed):
        await calls(mine, 2)


async def test_it_ends_at_once_where_there_are_no_streams(
    signals: Signals,
) -> None:
    async with watching(signals, FakeFeed()):
        await asyncio.sleep(0)
