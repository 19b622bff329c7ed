"""The order in which calls that wait get their turn.

Urgent calls first: a person waits for them. A small share of the turns stays
with the others while both kinds wait, so that these go on whatever comes.
Among the others, and among the urgent ones, clients take turns by deficit
round robin (Shreedhar and Varghese, 1995): in each round a client gets as
many turns as its weight. A client with a long queue delays no other one.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
Weights = Callable[[str], float]
# Of the turns for which calls of both kinds wait, those of the bulk calls.
BULK_SHARE = 0.05
# Smaller weights would only make the search for the next turn longer.
_LEAST_WEIGHT = 0.01


@dataclass(frozen=True, slots=True)
class Turn:
    """Whose call it is, and whether a person waits for it."""

    client_id: str = ""
    is_urgent: bool = False


NOBODYS = Turn()


class _Lane(Generic[T]):
    """The clients of one class, in the order of their turns."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._queues: dict[str, deque[T]] = {}
        self._turns: deque[str] = deque()
        self._deficits: dict[str, float] = {}
        # Whether the first one has got its turns of this round.
        self._has_begun = False
        self.total = 0

    def __bool__(self) -> bool:
        return bool(self._turns)

    def count(self, client_id: str) -> int:
        return len(self._queues.get(client_id, ()))

    def push(self, client_id: str, item: T) -> None:
        if client_id not in self._queues:
            self._queues[client_id] = deque()
            self._turns.append(client_id)
            self._deficits[client_id] = 0.0
        self._queues[client_id].append(item)
        self.total += 1

    def pop(self) -> T:
        client_id = self._next()
        self._deficits[client_id] -= 1
        item = self._queues[client_id].popleft()
        self.total -= 1
        self._forget_if_empty(client_id)
        return item

    def _next(self) -> str:
        while True:
            first = self._turns[0]
            if not self._has_begun:
                self._deficits[first] += self._weight(first)
                self._has_begun = True
            if self._deficits[first] >= 1:
                return first
            self._turns.rotate(-1)
            self._has_begun = False

    def remove(self, client_id: str, item: T) -> bool:
        queue = self._queues.get(client_id)
        if queue is None or item not in queue:
            return False
        queue.remove(item)
        self.total -= 1
        self._forget_if_empty(client_id)
        return True

    def clients(self) -> dict[str, int]:
        return {each: len(queue) for each, queue in self._queues.items()}

    def _weight(self, client_id: str) -> float:
        return max(self._weights(client_id), _LEAST_WEIGHT)

    def _forget_if_empty(self, client_id: str) -> None:
        if not self._queues[client_id]:
            self._has_begun &= self._turns[0] != client_id
            self._turns.remove(client_id)
            # Who has nothing to do saves up nothing.
            del self._queues[client_id], self._deficits[client_id]


class FairQueue(Generic[T]):
    """Calls that wait. Not thread-safe."""

    def __init__(
        self,
        weights: Weights = lambda _: 1.0,
        bulk_share: float = BULK_SHARE,
    ) -> None:
        """Take the weight of each client; above 0."""
        self._urgent, self._bulk = _Lane[T](weights), _Lane[T](weights)
        self._bulk_share = bulk_share
        # Turns that bulk calls have to get before urgent ones.
        self._bulk_due = 0.0
        # Those whose turn it was already.
        self._first: deque[T] = deque()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def count(self, client_id: str) -> int:
        """Return how many of a client's calls wait."""
        return self._urgent.count(client_id) + self._bulk.count(client_id)

    def waits(self, *, bulk: bool) -> bool:
        """Tell whether one waits; without `bulk`, an urgent one."""
        if not self._count:
            return False
        return bool(self._first or self._urgent or (bulk and self._bulk))

    @property
    def urgent_total(self) -> int:
        """How many urgent calls wait."""
        return self._urgent.total

    def urgent_count(self, client_id: str) -> int:
        """Return how many of a client's urgent calls wait."""
        return self._urgent.count(client_id)

    def clients(self) -> dict[str, int]:
        """Return how many bulk calls wait, by client."""
        return self._bulk.clients()

    def push(self, turn: Turn, item: T) -> None:
        """Add one at the end of its client's queue."""
        self._lane(turn).push(turn.client_id, item)
        self._count += 1

    def push_first(self, item: T) -> None:
        """Put one back that was popped and could not be served."""
        self._first.append(item)
        self._count += 1

    def remove(self, turn: Turn, item: T) -> bool:
        """Take one out that waits no longer; False if it was popped."""
        removed = self._lane(turn).remove(turn.client_id, item)
        self._count -= removed
        return removed

    def pop(self) -> T:
        """Take the one whose turn it is.

        Raises:
            IndexError: none waits.
        """
        if not self._count:
            raise IndexError("no call waits")
        self._count -= 1
        if self._first:
            return self._first.popleft()
        if self._urgent and self._bulk:
            self._bulk_due += self._bulk_share
            if self._bulk_due >= 1:
                self._bulk_due -= 1
                return self._bulk.pop()
        return (self._urgent or self._bulk).pop()

    def _lane(self, turn: Turn) -> _Lane[T]:
        return self._urgent if turn.is_urgent else self._bulk
