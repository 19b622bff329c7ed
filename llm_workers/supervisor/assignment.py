"""Which process runs which slot: all decide alike, from what all see.

Every process looks at the same leases and follows the same rules, so that
they agree without messages. Where two saw different moments, the
conditional write of a lease decides.

A slot belongs in the process that has the fewest threads of the same
worker, then the fewest threads at all. A process releases a slot only to
one with capacity that has two threads of that worker less, or two in
all and at least one of that worker less. The first kind of move evens out
each worker, the second the processes without undoing the first, so moves
come to an end.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from api.services.queue.worker_leases import Slot


class Assignment:
    """How many threads each process has, in all and of each worker."""

    def __init__(
        self, capacities: Mapping[str, int], leases: Iterable[tuple[Slot, str]]
    ) -> None:
        """Take the processes' sizes, and who leases what."""
        self._capacities = capacities
        self._threads: Counter[str] = Counter()
        self._of_worker: Counter[tuple[str, str]] = Counter()
        for slot, pool in leases:
            self._count(slot, pool, 1)

    def assign(self, waiting: Sequence[Slot]) -> dict[Slot, str]:
        """Say which process each slot is for, first come first served.

        Slots that no process has capacity for are left out.
        """
        assigned = {}
        for slot in waiting:
            pool = self._best(slot, self._capacities)
            if pool is None:
                continue
            assigned[slot] = pool
            self._count(slot, pool, 1)
        return assigned

    def excess(self, own: str, slots: Sequence[Slot]) -> list[Slot]:
        """Say which of its slots a process should release.

        The first of `slots` go first. Few at a time: others may be giving
        to the same process in this moment.
        """
        others = [pool for pool in self._capacities if pool != own]
        given: list[Slot] = []
        limit = self._lead(own) // (2 * max(len(others), 1))
        for slot in slots:
            if len(given) >= max(limit, 1):
                break
            other = self._best(slot, others)
            if other is not None and self._is_behind(other, own, slot):
                given.append(slot)
                self._count(slot, own, -1)
                self._count(slot, other, 1)
        return given

    def _lead(self, own: str) -> int:
        fewest = min(
            (self._threads[pool] for pool in self._capacities), default=0
        )
        return self._threads[own] - fewest

    def _is_behind(self, other: str, own: str, slot: Slot) -> bool:
        worker = slot.worker_id
        same = self._of_worker[own, worker] - self._of_worker[other, worker]
        lead = self._threads[own] - self._threads[other]
        return same > 1 or (lead > 1 and same > 0)

    def _best(self, slot: Slot, pools: Iterable[str]) -> str | None:
        return min(
            (
                pool
                for pool in pools
                if self._threads[pool] < self._capacities[pool]
            ),
            key=lambda pool: (
                self._of_worker[pool, slot.worker_id],
                self._threads[pool],
                pool,
            ),
            default=None,
        )

    def _count(self, slot: Slot, pool: str, change: int) -> None:
        self._threads[pool] += change
        self._of_worker[pool, slot.worker_id] += change
