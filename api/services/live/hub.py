"""Tells those who watch what happens, each at its own speed.

An event is written as text once, and put into the queue of everybody who
wants it; nobody waits for anybody. Whoever reads too slowly is told so and
dropped. The latest events are kept for those whose connection breaks.

All of it belongs to the event loop of the requests.
"""

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from enum import Enum, auto

from api.core.errors import TooManyRequestsError
from api.models.live_models import Topic
from api.services.live.live_event import LiveEvent, Wanted
from utilities.clock import Clock, now_ms

# Events that wait for one who watches, before it counts as too slow.
MOST_WAITING = 1_000
MOST_KEPT = 10_000
# Events are still gathered when nobody has watched for this time.
_LINGER_SECONDS = 60.0
_RETRY_SECONDS = 30
_BEGIN_SECONDS = 3.0
OF_JOBS = frozenset({Topic.JOB, Topic.BATCH})


class Ended(Enum):
    """Why nobody is told anything more."""

    SLOW = auto()
    STOPPED = auto()


class WatchingEndedError(Exception):
    """There will be no more events; `reason` says why."""

    def __init__(self, reason: Ended) -> None:
        super().__init__(reason.name)
        self.reason = reason


class Watcher:
    """One who watches: its queue, and what it wants."""

    def __init__(self, wanted: Wanted, most: int = MOST_WAITING) -> None:
        self.wanted = wanted
        self._most = most
        self._waiting: deque[LiveEvent] = deque()
        self._news = asyncio.Event()
        self._ended: Ended | None = None

    def offer(self, event: LiveEvent) -> None:
        """Put an event into the queue, if it is wanted."""
        if self._ended is not None or not self.wanted.matches(event):
            return
        if len(self._waiting) >= self._most:
            self._waiting.clear()
            self.end(Ended.SLOW)
            return
        self._waiting.append(event)
        self._news.set()

    def end(self, reason: Ended) -> None:
        """Have `next` raise."""
        self._ended = self._ended or reason
        self._news.set()

    async def next(self, seconds: float) -> Sequence[LiveEvent]:
        """Return what has happened; nothing if that is nothing for a while.

        Raises:
            WatchingEndedError: there will be no more events.
        """
        if not self._waiting and self._ended is None:
            self._news.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._news.wait()
            except TimeoutError:
                return ()
        if self._waiting:
            events = tuple(self._waiting)
            self._waiting.clear()
            return events
        raise WatchingEndedError(self._ended or Ended.STOPPED)


class Hub:
    """Everybody who watches, and the latest events."""

    def __init__(
        self,
        most_per_user: int,
        clock: Clock = now_ms,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self.most_per_user = most_per_user
        # Called when somebody begins to watch.
        self.on_join: Callable[[], None] = lambda: None
        self._clock = clock
        self._timer = timer
        self._watchers: set[Watcher] = set()
        self._by_user: Counter[str] = Counter()
        self._kept: deque[LiveEvent] = deque(maxlen=MOST_KEPT)
        self._ids: set[str] = set()
        # When each topic was wanted last, and since when (ms) it is.
        self._wanted_at: dict[Topic, float] = {}
        self._gathered_since: dict[Topic, int] = {}
        self._stopped = False
        self._jobs_are_told = asyncio.Event()

    def __len__(self) -> int:
        return len(self._watchers)

    @property
    def callers(self) -> set[str | None]:
        """The clients whose queues are watched; None: an administrator's."""
        return {
            None if caller.is_admin else caller.client_id
            for caller, topics in (
                (each.wanted.caller, each.wanted.topics)
                for each in self._watchers
            )
            # Of several clients there is no sum.
            if Topic.QUEUE in topics and (caller.is_admin or caller.client_id)
        }

    def enter(self, user: str) -> None:
        """Count one more connection of a user.

        Raises:
            TooManyRequestsError: it has as many as it may have.
        """
        if self._by_user[user] >= self.most_per_user:
            raise TooManyRequestsError(
                f"{self.most_per_user} connections watch for this user "
                "already",
                _RETRY_SECONDS,
            )
        self._by_user[user] += 1

    def leave(self, user: str) -> None:
        """Count one less."""
        self._by_user[user] -= 1
        if not self._by_user[user]:
            del self._by_user[user]

    def tell_of_jobs(self, *, now: bool) -> None:
        """Note whether ends of jobs of this process are told from now on."""
        if now:
            self._jobs_are_told.set()
        else:
            self._jobs_are_told.clear()

    async def begun(self, watcher: Watcher) -> None:
        """Return when all that happens from now on will be told.

        It takes a moment where nobody has watched jobs before.
        """
        if not watcher.wanted.topics & OF_JOBS:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_BEGIN_SECONDS):
                await self._jobs_are_told.wait()

    def watch(self, wanted: Wanted) -> Watcher:
        """Begin to tell somebody what happens."""
        watcher = Watcher(wanted)
        if self._stopped:
            watcher.end(Ended.STOPPED)
        self._watchers.add(watcher)
        self._note_wanted()
        self.on_join()
        return watcher

    def forget(self, watcher: Watcher) -> None:
        """Tell it nothing more."""
        self._note_wanted()
        self._watchers.discard(watcher)

    def is_wanted(self, topic: Topic) -> bool:
        """Tell whether a topic is watched, or was a moment ago."""
        self._note_wanted()
        before = self._wanted_at.get(topic)
        if before is None or self._timer() - before > _LINGER_SECONDS:
            self._gathered_since.pop(topic, None)
            return False
        return True

    def publish(self, events: Iterable[LiveEvent]) -> None:
        """Tell everybody; what was told before is left out."""
        for event in events:
            if event.id in self._ids:
                continue
            self._keep(event)
            for watcher in self._watchers:
                watcher.offer(event)

    def replay(
        self, wanted: Wanted, *, after: str | None, since: int | None
    ) -> tuple[list[LiveEvent], bool]:
        """Return what somebody has missed, and whether that is all of it.

        `after` is the id of the last event it has seen, `since` a time in
        ms.
        """
        if after is None and since is None:
            return [], True
        kept = list(self._kept)
        if after is not None:
            place = next(
                (i for i, each in enumerate(kept) if each.id == after), None
            )
            missed = [] if place is None else kept[place + 1 :]
            is_whole = place is not None
        else:
            start = since or 0
            missed = [each for each in kept if each.at >= start]
            is_whole = self._has_all(wanted.topics, start)
        return [each for each in missed if wanted.matches(each)], is_whole

    def stop(self) -> None:
        """Tell nobody anything more: the process ends."""
        self._stopped = True
        for watcher in self._watchers:
            watcher.end(Ended.STOPPED)

    def _has_all(self, topics: Iterable[Topic], start: int) -> bool:
        is_full = len(self._kept) == MOST_KEPT and self._kept[0].at > start
        now = self._clock()
        return not is_full and all(
            self._gathered_since.get(topic, now) <= start for topic in topics
        )

    def _keep(self, event: LiveEvent) -> None:
        if len(self._kept) == MOST_KEPT:
            self._ids.discard(self._kept[0].id)
        self._kept.append(event)
        self._ids.add(event.id)

    def _note_wanted(self) -> None:
        topics = {
            topic for each in self._watchers for topic in each.wanted.topics
        }
        for topic in topics:
            self._wanted_at[topic] = self._timer()
            self._gathered_since.setdefault(topic, self._clock())
