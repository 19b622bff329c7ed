"""Who gets a thread: simulated second by second."""

import itertools
from collections import Counter
from dataclasses import dataclass, field, replace
from math import inf

from hypothesis import given, settings
from hypothesis import strategies as st

from api.services.queue.worker_leases import Slot
from llm_workers.supervisor.fairness import (
    FairnessTimes,
    OwnThread,
    Rotation,
    Shares,
)
from tests.support.examples import examples

TIMES = FairnessTimes(idle=1.0, time_slice=3.0)
NEVER = FairnessTimes(idle=1.0, time_slice=inf, client_slice=inf)


@dataclass
class World:
    """Threads of one process; workers, each of a client, busy or idle."""

    threads: int
    # By worker's id: its client, and whether it has jobs.
    clients: dict[str, str]
    busy: dict[str, bool]
    held: dict[Slot, tuple[float, float]] = field(default_factory=dict)
    waiting: list[Slot] = field(default_factory=list)
    rotation: Rotation = field(default_factory=Rotation)
    moves: int = 0
    weights: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        slots = [Slot(worker_id, 1) for worker_id in self.clients]
        self.held = dict.fromkeys(slots[: self.threads], (0.0, 0.0))
        self.waiting = slots[self.threads :]

    def second(self, times: FairnessTimes, asked: int = 20) -> None:
        self.held = {
            slot: (
                0.0 if self.busy[slot.worker_id] else idle + 1,
                since + 1,
            )
            for slot, (idle, since) in self.held.items()
        }
        waiting = [slot.worker_id for slot in self.waiting]
        pairs = [(one, self.clients[one]) for one in waiting]
        shares = Shares(
            self.held,
            self.clients,
            lambda client: self.weights.get(client, 1.0),
        )
        for worker_id in self.rotation.order(pairs)[:asked]:
            has_work = self.busy[worker_id]
            self.rotation.asked(worker_id, has_work=has_work)
        hungry = self.rotation.hungry
        ready = [slot for slot in self.waiting if slot.worker_id in hungry]
        for slot in shares.in_turn(ready):
            if self._serve(slot, shares, times):
                return

    def _serve(
        self, taker: Slot, shares: Shares, times: FairnessTimes
    ) -> bool:
        """Return whether the thread came from a busy worker."""
        own = [
            OwnThread(slot, self.clients[slot.worker_id], idle, since)
            for slot, (idle, since) in self.held.items()
        ]
        donor = shares.donor(taker, own, times)
        if donor is None:
            return False
        self.moves += 1
        shares.move(donor.slot, taker)
        del self.held[donor.slot]
        self.held[taker] = (0.0, 0.0)
        self.waiting.remove(taker)
        self.waiting.append(donor.slot)
        return donor.idle_seconds <= times.idle

    def threads_by_client(self) -> Counter[str]:
        return Counter(self.clients[slot.worker_id] for slot in self.held)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    sizes = draw(st.lists(st.integers(1, 12), min_size=1, max_size=8))
    clients = {
        f"{client}-{number}": f"client-{client}"
        for client, size in enumerate(sizes)
        for number in range(size)
    }
    ids = draw(st.permutations(list(clients)))
    busy = {one: draw(st.booleans()) for one in ids}
    return World(
        draw(st.integers(1, 10)), {one: clients[one] for one in ids}, busy
    )


@given(worlds())
@settings(max_examples=examples(40))
def test_every_worker_with_jobs_gets_a_thread_soon(world: World) -> None:
    served: set[str] = set()
    busy = {one for one, has_jobs in world.busy.items() if has_jobs}
    # Each turn of the busy takes a time slice, and moves go one by one.
    rounds = 10 + (len(world.clients) + world.threads) * 5
    for _ in range(rounds):
        world.second(TIMES)
        served |= {slot.worker_id for slot in world.held}
    assert busy <= served


@given(worlds())
@settings(max_examples=examples(40))
def test_without_time_slices_moves_end_with_equal_shares(
    world: World,
) -> None:
    for _ in range(4 * len(world.clients) + 20):
        world.second(NEVER)
    moves = world.moves
    for _ in range(20):
        world.second(NEVER)
    assert world.moves == moves
    threads = world.threads_by_client()
    for slot in world.waiting:
        if world.busy[slot.worker_id]:
            mine = threads[world.clients[slot.worker_id]]
            assert max(threads.values()) - mine <= 1


def test_one_worker_is_not_kept_waiting_by_ten_of_another_client() -> None:
    clients = {f"a-{n}": "a" for n in range(10)} | {"b-0": "b"}
    world = World(10, clients, dict.fromkeys(clients, True))
    world.second(NEVER)
    assert world.threads_by_client()["b"] == 1


def test_forty_workers_without_jobs_hide_no_worker_with_jobs() -> None:
    clients = {f"a-{n}": "a" for n in range(45)} | {"a-last": "a"}
    world = World(5, clients, dict.fromkeys(clients, False))
    world.busy["a-last"] = True
    for _ in range(5):
        world.second(NEVER)
    assert Slot("a-last", 1) in world.held


def test_a_thread_that_just_became_idle_stays() -> None:
    own = [OwnThread(Slot("a", 1), "a", 0.5, 100.0)]
    shares = Shares([own[0].slot], {"a": "a", "b": "b"})
    assert shares.donor(Slot("b", 1), own, NEVER) is None
    idle = [replace(own[0], idle_seconds=1.5)]
    assert shares.donor(Slot("b", 1), idle, NEVER) == idle[0]


def test_clients_take_turns_in_being_asked() -> None:
    rotation = Rotation()
    waiting = [(f"a-{n}", "a") for n in range(1000)] + [("b-0", "b")]
    asked: list[str] = []
    for _ in range(10):
        for worker_id in rotation.order(waiting)[:20]:
            rotation.asked(worker_id, has_work=True)
            asked.append(worker_id)
    assert asked.count("b-0") == 10
    counts = Counter(one for one in asked if one != "b-0")
    assert set(counts.values()) == {1}


@given(st.integers(1, 60), st.integers(1, 10))
def test_everybody_is_asked_within_a_full_turn(
    workers: int, clients: int
) -> None:
    rotation = Rotation()
    waiting = [(f"w-{n}", f"c-{n % clients}") for n in range(workers)]
    asked: set[str] = set()
    for _ in itertools.repeat(None, workers):
        for worker_id in rotation.order(waiting)[:5]:
            rotation.asked(worker_id, has_work=True)
            asked.add(worker_id)
    assert asked == {worker_id for worker_id, _ in waiting}


def test_threads_follow_the_weights() -> None:
    clients = {f"{client}-{n}": client for client in "abc" for n in range(20)}
    world = World(14, clients, dict.fromkeys(clients, True))
    world.weights = {"a": 4.0, "b": 2.0}
    for _ in range(40):
        world.second(NEVER)
    assert world.threads_by_client() == {"a": 8, "b": 4, "c": 2}


@given(
    st.sampled_from([0.01, 0.5, 1.0, 100.0]),
    st.sampled_from([0.01, 1.0, 100.0]),
    st.integers(2, 10),
)
def test_whatever_the_weights_a_client_without_threads_gets_one(
    mine: float, other: float, threads: int
) -> None:
    clients = {f"a-{n}": "a" for n in range(10)} | {"b-0": "b"}
    world = World(threads, clients, dict.fromkeys(clients, True))
    world.weights = {"a": other, "b": mine}
    world.second(NEVER)
    assert world.threads_by_client()["b"] == 1


def test_a_client_without_threads_waits_for_no_whole_time_slice() -> None:
    clients = {"a": "a", "b": "b"}
    world = World(1, clients, dict.fromkeys(clients, True))
    times = replace(TIMES, time_slice=inf, client_slice=0.5)
    world.second(times)
    assert world.threads_by_client() == {"b": 1}
