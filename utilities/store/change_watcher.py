"""Wakes this process's workers when another process made work for them.

It saves the wait until the next poll and carries no promise: whatever goes
wrong here, polling finds the work.
"""

import asyncio
import contextlib

import structlog

from utilities.clock import Clock, now_ms
from utilities.cosmos_connector import StoreError
from utilities.signals import (
    RUNS_CHANGED,
    WORKERS_CHANGED,
    Signals,
    jobs_waiting,
)
from utilities.store.change_feed import Change, Feed, Stream
from utilities.tasks import Loop

# A batch of jobs is one signal, not thousands.
_GATHER_SECONDS = 0.05
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
# A server becomes a replica set rarely, but it does.
_NOT_AVAILABLE_SECONDS = 300.0
_TOPICS = {"workers": WORKERS_CHANGED, "runs": RUNS_CHANGED}

log = structlog.get_logger(__name__)


class ChangeWatcher(Loop):
    """Turns the database's change stream into this process's signals."""

    name = "changes"
    vital = False

    def __init__(
        self, feed: Feed, signals: Signals, clock: Clock = now_ms
    ) -> None:
        super().__init__()
        self._feed = feed
        self._signals = signals
        self._clock = clock
        self._pause = _FIRST_PAUSE_SECONDS
        self._told_why_not = False
        # Topics to publish, and when (loop time).
        self._timers: dict[tuple[str, int], asyncio.TimerHandle] = {}

    async def run(self) -> None:
        """Watch until stopped."""
        self.attach()
        try:
            while not self.stopping:
                await self._watch_safely()
        finally:
            for timer in self._timers.values():
                timer.cancel()

    async def _watch_safely(self) -> None:
        try:
            stream = await self._feed.open()
            if stream is None:
                await self._do_without()
            else:
                await self._watch(stream)
        except StoreError as error:
            log.warning("change_stream_lost", error=type(error).__name__)
            await self.pause(self._pause)
            self._pause = min(self._pause * 2, _LONGEST_PAUSE_SECONDS)

    async def _do_without(self) -> None:
        if not self._told_why_not:
            log.info(
                "no_change_streams",
                advice="work from other processes is found by polling; a "
                "MongoDB replica set reports it at once",
            )
            self._told_why_not = True
        await self.pause(_NOT_AVAILABLE_SECONDS)

    async def _watch(self, stream: Stream) -> None:
        log.info("change_stream_opened")
        self._pause = _FIRST_PAUSE_SECONDS
        # What came before the stream was open.
        self._signals.publish_all()
        try:
            while not self.stopping:
                change = await stream.next()
                if change is not None:
                    self._announce(change)
        finally:
            with contextlib.suppress(StoreError):
                await stream.close()

    def _announce(self, change: Change) -> None:
        topic = _TOPICS.get(change.collection)
        if topic is not None:
            self._publish_in(topic, 0.0)
        elif change.client_id is not None:
            due = change.available_at or 0
            wait = max(due - self._clock(), 0) / 1000
            self._publish_in(jobs_waiting(change.client_id), wait)

    def _publish_in(self, topic: str, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        tick = int((loop.time() + seconds) / _GATHER_SECONDS) + 1
        if (topic, tick) not in self._timers:
            self._timers[topic, tick] = loop.call_at(
                tick * _GATHER_SECONDS, self._publish, topic, tick
            )

    def _publish(self, topic: str, tick: int) -> None:
        del self._timers[topic, tick]
        self._signals.publish(topic)
