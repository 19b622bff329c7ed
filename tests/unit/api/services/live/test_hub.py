"""Who is told what, and what is kept for whom."""

import asyncio
from collections import deque
from typing import Any

import pytest

from api.core.errors import TooManyRequestsError
from api.models.live_models import Topic
from api.services.live.hub import (
    MOST_KEPT,
    MOST_WAITING,
    Ended,
    Hub,
    WatchingEndedError,
)
from api.services.live.live_event import LiveEvent, Wanted
from api.services.shared.caller import Caller

ADMIN, CLIENT = Caller(is_admin=True), Caller("a")
EVERYTHING = Wanted(ADMIN)


class Time:
    """Both clocks, in ms and in seconds."""

    def __init__(self) -> None:
        self.now = 1_000

    def ms(self) -> int:
        return self.now

    def seconds(self) -> float:
        return self.now / 1000


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def hub(time: Time) -> Hub:
    return Hub(3, time.ms, time.seconds)


def event(number: int, kind: str = "job.processed", **more: Any) -> LiveEvent:
    data = {"jobId": str(number)}
    return LiveEvent.of(kind, 1_000 + number, data, key=str(number), **more)


def numbers(events: Any) -> list[str]:
    return [each.data["jobId"] for each in events]


async def test_events_come_in_order_and_once(hub: Hub) -> None:
    watcher = hub.watch(EVERYTHING)
    hub.publish([event(1), event(2), event(1)])
    hub.publish([event(2), event(3)])
    assert numbers(await watcher.next(1)) == ["1", "2", "3"]
    assert await watcher.next(0.01) == ()


async def test_who_is_slow_is_dropped_and_harms_nobody(hub: Hub) -> None:
    slow, quick = hub.watch(EVERYTHING), hub.watch(EVERYTHING)
    seen = 0
    for number in range(MOST_WAITING + 1):
        hub.publish([event(number)])
        seen += len(await quick.next(1))
    assert seen == MOST_WAITING + 1
    with pytest.raises(WatchingEndedError) as ended:
        await slow.next(1)
    assert ended.value.reason is Ended.SLOW
    # Negative control: one event fewer would have been taken.
    other = hub.watch(EVERYTHING)
    hub.publish(event(10_000 + number) for number in range(MOST_WAITING))
    assert len(await other.next(1)) == MOST_WAITING


@pytest.mark.parametrize(
    ("wanted", "seen"),
    [
        (Wanted(ADMIN), "job run model queue all"),
        (Wanted(CLIENT), "job model"),
        (Wanted(Caller("b")), "run model"),
        (Wanted(ADMIN, client_id="a"), "job model"),
        (Wanted(CLIENT, client_id="b"), "model"),
        (Wanted(ADMIN, frozenset({Topic.RUN})), "run"),
        (Wanted(ADMIN, types=frozenset({"run.changed"})), "run"),
        (Wanted(ADMIN, fields={"jobId": "2"}), "run"),
        (Wanted(ADMIN, fields={"other": "2"}), ""),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_seen(wanted: Wanted, seen: str) -> None:
    events = {
        "job": event(1, client_id="a"),
        "run": event(2, "run.changed", client_id="b"),
        "model": event(3, "model.changed"),
    }
    assert [name for name, each in events.items() if wanted.matches(each)] == [
        name for name in seen.split() if name in events
    ]


def test_the_sums_of_all_are_for_administrators() -> None:
    sums = event(1, "queue.changed", for_admins=True)
    own = event(2, "queue.changed", client_id="a")
    assert [Wanted(ADMIN).matches(each) for each in (sums, own)] == [
        True,
        False,
    ]
    assert [Wanted(CLIENT).matches(each) for each in (sums, own)] == [
        False,
        True,
    ]


def test_what_was_missed_is_replayed(hub: Hub) -> None:
    hub.watch(EVERYTHING)
    events = [event(number) for number in range(5)]
    hub.publish(events)
    after, whole = hub.replay(EVERYTHING, after=events[2].id, since=None)
    assert (numbers(after), whole) == (["3", "4"], True)
    assert hub.replay(EVERYTHING, after="1-x", since=None) == ([], False)
    since, whole = hub.replay(EVERYTHING, after=None, since=1_003)
    assert (numbers(since), whole) == (["3", "4"], True)
    # Before anybody watched, nothing was gathered.
    _, whole = hub.replay(EVERYTHING, after=None, since=999)
    assert not whole
    assert hub.replay(EVERYTHING, after=None, since=None) == ([], True)
    hub.publish(event(number) for number in range(5, MOST_KEPT + 1))
    _, whole = hub.replay(EVERYTHING, after=None, since=1_000)
    assert not whole


def test_topics_are_gathered_for_a_while_after(hub: Hub, time: Time) -> None:
    assert not hub.is_wanted(Topic.JOB)
    watcher = hub.watch(Wanted(ADMIN, frozenset({Topic.JOB})))
    assert hub.is_wanted(Topic.JOB)
    assert not hub.is_wanted(Topic.RUN)
    hub.forget(watcher)
    time.now += 59_000
    assert hub.is_wanted(Topic.JOB)
    time.now += 2_000
    assert not hub.is_wanted(Topic.JOB)


def test_a_user_has_so_many_connections(hub: Hub) -> None:
    for _ in range(3):
        hub.enter("a")
    with pytest.raises(TooManyRequestsError):
        hub.enter("a")
    hub.enter("b")
    hub.leave("a")
    hub.enter("a")


async def test_all_end_when_the_process_ends(hub: Hub) -> None:
    watcher = hub.watch(EVERYTHING)
    waiting = asyncio.create_task(watcher.next(60))
    await asyncio.sleep(0)
    hub.stop()
    for late in (waiting, hub.watch(EVERYTHING).next(60)):
        with pytest.raises(WatchingEndedError) as ended:
            await late
        assert ended.value.reason is Ended.STOPPED


def test_ids_are_those_of_what_has_happened() -> None:
    assert event(1).id == event(1).id
    different: deque[LiveEvent] = deque(
        [event(1), event(2), event(1, "job.failed")]
    )
    assert len({each.id for each in different}) == 3
