"""Which rows of `map` are where: taken, submitted, ended, given."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from metasync.requests import Json
from metasync.results import Result
from metasync.rows import Row

T = TypeVar("T")

_MOST_REMEMBERED = 100_000


@dataclass(slots=True)
class Entry:
    """A row on its way; `number` counts the jobs that were made of it."""

    index: int
    row: Row
    job: Json = field(repr=False)
    size: int
    number: int = 1


@dataclass
class Window(Generic[T]):
    """Bounds what is in flight, and puts results in order.

    At most `size` jobs are open; in order, at most twice as many rows are
    taken and not yet given.
    """

    size: int
    ordered: bool = False
    # Rows that are the same are one job.
    _open: dict[str, list[Entry]] = field(default_factory=dict)
    _taken: int = 0
    _given: int = 0
    _ready: dict[int, Result[T]] = field(default_factory=dict)
    _failed: set[str] = field(default_factory=set)

    @property
    def open_ids(self) -> list[str]:
        """The jobs whose end is waited for, the oldest first."""
        return list(self._open)

    @property
    def room(self) -> int:
        """How many more rows may be taken now."""
        room = self.size - len(self._open)
        if self.ordered:
            room = min(room, 2 * self.size - (self._taken - self._given))
        return max(room, 0)

    def take(self) -> int:
        """Count one more row; return its number."""
        self._taken += 1
        return self._taken - 1

    def submitted(self, job_id: str, entry: Entry) -> None:
        """Wait for the end of a row's job."""
        self._open.setdefault(job_id, []).append(entry)

    def ended(self, job_id: str) -> list[Entry]:
        """Give the rows of a job that has ended, and forget it."""
        return self._open.pop(job_id, [])

    def add(self, results: Iterable[Result[T]]) -> None:
        """Have these given."""
        for result in results:
            self._ready[result.index] = result

    def remember_failure(self, job_id: str) -> None:
        """Keep in mind that a job has failed in this run.

        Its row may come again: it is not tried once more for that.
        """
        if len(self._failed) < _MOST_REMEMBERED:
            self._failed.add(job_id)

    def has_failed(self, job_id: str) -> bool:
        """Tell whether it has."""
        return job_id in self._failed

    def ready(self) -> Iterator[Result[T]]:
        """Give, once each, the results whose turn it is."""
        while self._ready:
            first = self._given if self.ordered else next(iter(self._ready))
            result = self._ready.pop(first, None)
            if result is None:
                return
            self._given += 1
            yield result
