"""Failures that are switched on: for a number of calls or seconds."""

from dataclasses import dataclass

from provider_simulator.limits import Clock


@dataclass(frozen=True, slots=True)
class OutageStatus:
    """What is switched on now."""

    failing: bool
    count_remaining: int
    duration_remaining_seconds: float


class Outages:
    """A count and a duration; both act."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._count = 0
        self._until = 0.0

    def fail_next(self, count: int) -> None:
        """Fail a number of the next calls."""
        self._count = count

    def fail_for(self, seconds: float) -> None:
        """Fail every call for so long."""
        self._until = self._clock() + seconds

    def reset(self) -> None:
        """Fail no more."""
        self._count = 0
        self._until = 0.0

    def strikes(self) -> bool:
        """Tell whether this call fails, and count it."""
        if self._count > 0:
            self._count -= 1
            return True
        return self._clock() < self._until

    def status(self) -> OutageStatus:
        """Return what is switched on now."""
        seconds = max(self._until - self._clock(), 0.0)
        return OutageStatus(
            failing=self._count > 0 or seconds > 0,
            count_remaining=self._count,
            duration_remaining_seconds=round(seconds, 3),
        )
