"""How a model's calls are protected: plain values, all times in seconds."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class TimeoutPolicy:
    """How long to wait for a connection, between pieces, and in all."""

    connect: float = 5.0
    read: float = 600.0
    total: float = 900.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how late a failed call is made again.

    `max_attempts` calls make one attempt of the job; it has several.
    """

    max_attempts: int = 3
    min_wait: float = 1.0
    max_wait: float = 60.0
    exponential_base: float = 2.0
    jitter: bool = True

    def wait_seconds(
        self, failures: int, chance: Callable[[], float] = random.random
    ) -> float:
        """Return how long to wait after a number of failed calls (from 1).

        With jitter between a half and the whole of it ("equal jitter",
        https://aws.amazon.com/blogs/architecture/
        exponential-backoff-and-jitter/).
        """
        try:
            wait = self.min_wait * self.exponential_base ** (failures - 1)
        except OverflowError:
            wait = self.max_wait
        wait = min(wait, self.max_wait)
        return wait * (0.5 + chance() / 2) if self.jitter else wait

    def pause_seconds(
        self, refusals: int, chance: Callable[[], float] = random.random
    ) -> float:
        """Return how long to pause after refusals in a row, from 1 on.

        Never less than `min_wait` and never more than `max_wait`; jitter
        adds up to a half, so that processes do not come back together.
        """
        shortest = min(self.min_wait, self.max_wait)
        longest = self.max_wait / 1.5 if self.jitter else self.max_wait
        try:
            wait = shortest * self.exponential_base ** (refusals - 1)
        except OverflowError:
            wait = longest
        wait = max(min(wait, longest), shortest)
        if self.jitter:
            wait *= 1 + chance() / 2
        return min(wait, self.max_wait)


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When to stop calling what keeps failing, and when to try again.

    `recovery_timeout` is the longest time between two trial calls; after
    a short outage they come sooner.
    """

    failure_threshold: int = 5
    recovery_timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class BulkheadPolicy:
    """How many calls of one process may run at once.

    None: as many as its workers make. A call waits `acquisition_timeout`
    for its place.
    """

    max_concurrency: int | None = None
    acquisition_timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class Resilience:
    """Everything that protects one model."""

    timeout: TimeoutPolicy = field(default_factory=TimeoutPolicy)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    circuit_breaker: BreakerPolicy = field(default_factory=BreakerPolicy)
    bulkhead: BulkheadPolicy = field(default_factory=BulkheadPolicy)
