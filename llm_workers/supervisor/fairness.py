"""Which thread is given to a worker that waits and has jobs.

Threads are shared between clients by weight first, then between the workers
of a client. A thread is taken

1. from a worker that has nothing to do;
2. from a client that has more threads for its weight, also after the move:
   such moves come to an end, because each makes the sum of n x n / weight
   smaller (n: a client's threads);
3. from a client with several threads, for one that has none;
4. from a worker with several threads, for a worker that has none, where
   the first one's client has more threads for its weight or is the same;
5. under the same condition from any worker that has had its thread for a
   time slice: with more busy workers than threads, they take turns. For a
   client without any thread the slice is shorter.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from api.services.queue.worker_leases import Slot
from llm_sdks.resilience.fair_queue import Weights


@dataclass(frozen=True, slots=True)
class OwnThread:
    """A thread of this process; times in seconds."""

    slot: Slot
    client_id: str
    idle_seconds: float
    held_seconds: float


@dataclass(frozen=True, slots=True)
class FairnessTimes:
    """When a thread may be taken, in seconds.

    `idle`: how long it has had nothing to do. `time_slice`: how long a
    busy worker keeps its thread while another one waits, and `client_slice`
    while a client waits that has no thread.
    """

    idle: float = 1.0
    time_slice: float = 10.0
    client_slice: float = 0.5


class Shares:
    """How many threads each client and each worker has, in all processes."""

    def __init__(
        self,
        held: Iterable[Slot],
        clients: Mapping[str, str],
        weights: Weights = lambda _: 1.0,
    ) -> None:
        """Take the held slots, the client of each worker, and weights."""
        self._clients = clients
        self._weights = weights
        self._of_client: Counter[str] = Counter()
        self._of_worker: Counter[str] = Counter()
        for slot in held:
            self._count(slot, 1)

    def move(self, donor: Slot, taker: Slot) -> None:
        """Note that a thread was given to another worker."""
        self._count(donor, -1)
        self._count(taker, 1)

    def in_turn(self, waiting: Iterable[Slot]) -> list[Slot]:
        """Sort: clients with few threads first; else as they come."""
        return sorted(waiting, key=lambda slot: self._load(self._client(slot)))

    def donor(
        self, taker: Slot, own: Sequence[OwnThread], times: FairnessTimes
    ) -> OwnThread | None:
        """Choose the thread that a waiting worker gets, if there is one."""
        others = [t for t in own if t.slot.worker_id != taker.worker_id]
        idle = [t for t in others if t.idle_seconds > times.idle]
        if idle:
            return max(idle, key=lambda thread: thread.idle_seconds)
        client = self._client(taker)
        mine = self._load(client, 1)
        ahead = [t for t in others if self._load(t.client_id, -1) >= mine]
        if not ahead and not self._of_client[client]:
            ahead = [t for t in others if self._of_client[t.client_id] > 1]
        if ahead:
            return max(ahead, key=self._rank)
        if self._of_worker[taker.worker_id]:
            return None
        return self._turn(taker, others, times)

    def _turn(
        self,
        taker: Slot,
        others: Sequence[OwnThread],
        times: FairnessTimes,
    ) -> OwnThread | None:
        client = self._client(taker)
        mine = self._load(client)
        has_some = self._of_client[client] > 0
        time_slice = times.time_slice if has_some else times.client_slice
        allowed = [
            thread
            for thread in others
            if thread.client_id == client
            or self._load(thread.client_id) > mine
            if self._of_worker[thread.slot.worker_id] > 1
            or thread.held_seconds > time_slice
        ]
        return max(allowed, key=self._rank, default=None)

    def _rank(self, thread: OwnThread) -> tuple[float, int, float, int]:
        return (
            self._load(thread.client_id),
            self._of_worker[thread.slot.worker_id],
            thread.held_seconds,
            thread.slot.replica,
        )

    def _load(self, client_id: str, change: int = 0) -> float:
        """Give a client's threads, after a change, for its weight."""
        threads = self._of_client[client_id] + change
        return threads / self._weights(client_id)

    def _client(self, slot: Slot) -> str:
        return self._clients.get(slot.worker_id, "")

    def _count(self, slot: Slot, change: int) -> None:
        self._of_client[self._client(slot)] += change
        self._of_worker[slot.worker_id] += change


class Rotation:
    """In which order waiting workers are asked whether they have jobs.

    Clients take turns, and so do the workers of a client: none of them is
    asked again before the others have been. A worker that had jobs is
    remembered until it says otherwise.
    """

    def __init__(self) -> None:
        self._asked: dict[str, int] = {}
        self._hungry: set[str] = set()
        self._round = 0

    def order(self, waiting: Sequence[tuple[str, str]]) -> list[str]:
        """Sort the ids of (worker, client) pairs, the next one first."""
        self._round += 1
        self._asked = {
            worker_id: self._asked[worker_id]
            for worker_id, _ in waiting
            if worker_id in self._asked
        }
        self._hungry &= {worker_id for worker_id, _ in waiting}
        by_time = sorted(waiting, key=lambda one: self._last(one[0]))
        position: Counter[str] = Counter()
        keys: dict[str, tuple[int, int]] = {}
        for worker_id, client_id in by_time:
            keys[worker_id] = (position[client_id], self._last(worker_id))
            position[client_id] += 1
        return sorted(keys, key=keys.__getitem__)

    @property
    def hungry(self) -> AbstractSet[str]:
        """The workers that had jobs when they were asked last."""
        return self._hungry

    def asked(self, worker_id: str, *, has_work: bool) -> None:
        """Note a worker's answer in this round."""
        self._asked[worker_id] = self._round
        if has_work:
            self._hungry.add(worker_id)
        else:
            self._hungry.discard(worker_id)

    def knows(self, worker_id: str) -> bool:
        """Tell whether a worker has been asked in this round."""
        return self._last(worker_id) == self._round

    def _last(self, worker_id: str) -> int:
        return self._asked.get(worker_id, 0)
