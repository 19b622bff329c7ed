"""Finds out what happens, for those who watch in this process."""

import time
from collections.abc import Awaitable, Callable

import structlog

from api.models.live_models import Topic
from api.services.live.changes import Changes
from api.services.live.event_log import EVENTS_LOGGED, EventLog
from api.services.live.hub import OF_JOBS, Hub
from api.services.live.live_event import LiveEvent
from api.services.live.queue_numbers import QueueNumbers
from utilities.clock import Clock, now_ms
from utilities.cosmos_connector import Documents, StoreError
from utilities.signals import RUNS_CHANGED, WORKERS_CHANGED, Signals
from utilities.tasks import Loop

_EVERY_SECONDS = 1.0
_UNWATCHED_SECONDS = 5.0
_ANNOUNCE_SECONDS = 5.0
_PRUNE_SECONDS = 60.0
# A question may take this share of the database's time, and no more.
_SHARE = 20
_COMPARED = (Topic.RUN, Topic.MODEL, Topic.WORKER)
_TOPICS = (EVENTS_LOGGED, RUNS_CHANGED, WORKERS_CHANGED)

log = structlog.get_logger(__name__)


class Turns:
    """When something is due again; the rarer, the longer it takes."""

    def __init__(
        self, seconds: float, timer: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._timer = timer
        self._due = 0.0
        self._began = 0.0

    def begin(self) -> bool:
        """Tell whether it is due; it then begins."""
        self._began = self._timer()
        return self._began >= self._due

    def end(self) -> None:
        """Note that it is done."""
        now = self._timer()
        pause = max(self._seconds, (now - self._began) * _SHARE)
        self._due = now + pause


class EventGatherer(Loop):
    """Reads what may have changed, only while somebody watches."""

    name = "liveEvents"
    vital = False

    def __init__(
        self,
        hub: Hub,
        event_log: EventLog,
        changes: Changes,
        jobs: Documents,
        signals: Signals,
        refresh: Callable[[], Awaitable[None]],
        clock: Clock = now_ms,
    ) -> None:
        super().__init__()
        self._hub = hub
        self._log = event_log
        self._changes = changes
        self._jobs = jobs
        self._signals = signals
        self._refresh = refresh
        self._clock = clock
        self._read_to = 0
        self._numbers: dict[str | None, QueueNumbers] = {}
        self._shown: dict[str | None, dict[str, object]] = {}
        self._announcing = Turns(_ANNOUNCE_SECONDS)
        self._pruning = Turns(_PRUNE_SECONDS)
        self._counting = Turns(_EVERY_SECONDS)
        self._comparing = {each: Turns(_EVERY_SECONDS) for each in _COMPARED}

    async def run(self) -> None:
        """Gather until stopped."""
        self.attach()
        self._hub.on_join = self.wake
        for topic in _TOPICS:
            self._signals.subscribe(topic, self._hear)
        try:
            while not self.stopping:
                await self._gather_safely()
                await self.pause(
                    _EVERY_SECONDS if len(self._hub) else _UNWATCHED_SECONDS
                )
        finally:
            for topic in _TOPICS:
                self._signals.unsubscribe(topic, self._hear)

    def _hear(self) -> None:
        # Called on any thread.
        if len(self._hub):
            self.wake_safely()

    async def _gather_safely(self) -> None:
        try:
            await self._gather()
            self.complaint = None
        except StoreError as error:
            self.complaint = f"not up to date: {type(error).__name__}"
            log.warning("events_not_gathered", error=type(error).__name__)

    async def _gather(self) -> None:
        if any(map(self._hub.is_wanted, OF_JOBS)):
            await self._read_log()
        else:
            self._read_to = 0
            self._hub.tell_of_jobs(now=False)
        for topic, turns in self._comparing.items():
            if not self._hub.is_wanted(topic):
                self._changes.forget(topic)
            elif turns.begin():
                now = self._clock()
                self._hub.publish(await self._changes.look(topic, now))
                turns.end()
        if self._hub.is_wanted(Topic.QUEUE) and self._counting.begin():
            await self._count()
            self._counting.end()

    async def _read_log(self) -> None:
        if self._announcing.begin():
            await self._log.announce()
            self._announcing.end()
        if not self._read_to:
            # From now on, ends of jobs are noted here, and soon elsewhere.
            await self._refresh()
            self._read_to = self._clock()
            self._hub.tell_of_jobs(now=True)
        now = self._clock()
        self._hub.publish(await self._log.read(self._read_to))
        self._read_to = now
        if self._pruning.begin():
            await self._log.prune()
            self._pruning.end()

    async def _count(self) -> None:
        wanted = self._hub.callers
        for gone in self._numbers.keys() - wanted:
            del self._numbers[gone]
            self._shown.pop(gone, None)
        for client_id in wanted:
            numbers = self._numbers.setdefault(
                client_id, QueueNumbers(self._jobs, client_id)
            )
            now = self._clock()
            data = await numbers.look(now)
            if data != self._shown.get(client_id):
                self._shown[client_id] = data
                self._hub.publish([_of_queue(client_id, now, data)])


def _of_queue(
    client_id: str | None, now: int, data: dict[str, object]
) -> LiveEvent:
    return LiveEvent.of(
        "queue.changed",
        now,
        data,
        client_id=client_id,
        key=client_id or "all",
        for_admins=client_id is None,
    )
