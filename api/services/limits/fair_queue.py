"""The order in which calls that wait get their turn.

Interactive calls first. Within a class, clients take turns by deficit round
robin (Shreedhar and Varghese, 1995): in each round a client gets as many
turns as its weight. One with a long queue delays no other one.
"""

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from api.services.calls.model_call import CallClass

T = TypeVar("T")
Weights = Callable[[str], float]
_ORDER = (CallClass.INTERACTIVE, CallClass.BULK)


class _Lane(Generic[T]):
    """The clients of one class, in the order of their turns."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._queues: dict[str, deque[T]] = {}
        self._turns: deque[str] = deque()
        self._deficits: dict[str, float] = {}

    def __bool__(self) -> bool:
        return bool(self._turns)

    def push(self, client_id: str, item: T) -> None:
        if client_id not in self._queues:
            self._queues[client_id] = deque()
            self._turns.append(client_id)
            self._deficits[client_id] = self._weights(client_id)
        self._queues[client_id].append(item)

    def pop(self) -> T:
        while True:
            client_id = self._turns[0]
            if self._deficits[client_id] >= 1:
                break
            self._turns.rotate(-1)
            first = self._turns[0]
            self._deficits[first] += self._weights(first)
        self._deficits[client_id] -= 1
        queue = self._queues[client_id]
        item = queue.popleft()
        if not queue:
            self._turns.popleft()
            # Who has nothing to do saves up nothing.
            del self._queues[client_id], self._deficits[client_id]
        return item


class FairQueue(Generic[T]):
    """Calls that wait. Not thread-safe."""

    def __init__(self, weights: Weights = lambda _: 1.0) -> None:
        """Take the weight of each client; above 0."""
        self._lanes = {each: _Lane[T](weights) for each in _ORDER}
        # Those whose turn it was already.
        self._first: deque[T] = deque()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def push_first(self, item: T) -> None:
        """Put one back that was popped and could not be served."""
        self._first.append(item)
        self._count += 1

    def push(self, client_id: str, call_class: CallClass, item: T) -> None:
        """Add one at the end of its client's queue."""
        self._lanes[call_class].push(client_id, item)
        self._count += 1

    def pop(self) -> T:
        """Take the one whose turn it is.

        Raises:
            IndexError: none waits.
        """
        if self._first:
            self._count -= 1
            return self._first.popleft()
        for lane in self._lanes.values():
            if lane:
                self._count -= 1
                return lane.pop()
        raise IndexError("no call waits")
