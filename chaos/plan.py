"""What shall be done, and which faults shall strike: all of it by seed."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from provider_simulator.settings import (
    FailureKind,
    SimulatorSettings,
)

# Chances of each failure of a call; none of the simulator's is left out
# that a call without a stream can have.
_FAILING_CALLS: Mapping[FailureKind, float] = {
    FailureKind.SERVER_ERROR: 0.02,
    FailureKind.OVERLOADED: 0.01,
    FailureKind.RATE_LIMITED: 0.02,
    FailureKind.RESET: 0.01,
    FailureKind.HANG: 0.003,
    FailureKind.TRUNCATED: 0.01,
    FailureKind.INVALID_JSON: 0.01,
    FailureKind.CONTENT_FILTER: 0.003,
    FailureKind.PROMPT_FILTER: 0.003,
}
_FAULTS: Mapping[str, int] = {
    "worker killed": 24,
    "worker frozen": 4,
    "worker ended by SIGTERM": 4,
    "database killed": 5,
    "network: reset": 3,
    "network: delay": 3,
    "network: forget": 3,
    "provider down": 3,
    "API killed": 2,
}


@dataclass(frozen=True)
class Plan:
    """How much, and how bad."""

    jobs: int = 10_000
    seed: int = 1
    faults: Mapping[str, int] = field(default_factory=lambda: dict(_FAULTS))
    failing_calls: Mapping[FailureKind, float] = field(
        default_factory=lambda: dict(_FAILING_CALLS)
    )
    latency_ms: float = 300
    # Clocks of the machines, in seconds before or behind ours; each has
    # two processes with workers.
    clocks: tuple[float, ...] = (0.0, 5.0)
    workers: int = 6
    concurrency: int = 20
    # Jobs of one request; and how many may have been submitted before
    # they end: the client is at work while the faults strike.
    batch: int = 100
    ahead: int = 1_500
    # For the jobs to end, once nothing fails any more.
    patience: float = 120.0
    # A fault waits no longer than this for the jobs to get on.
    longest_pause: float = 4.5

    def order(self) -> list[str]:
        """Return the faults in the order in which they strike."""
        faults = [
            kind for kind, count in self.faults.items() for _ in range(count)
        ]
        random.Random(self.seed).shuffle(faults)
        return faults

    def provider(self) -> SimulatorSettings:
        """Return how the provider behaves."""
        return SimulatorSettings(
            latency_ms=self.latency_ms,
            failures=dict(self.failing_calls),
            retry_after_seconds=1,
            seed=self.seed,
            idempotency_entries=100_000,
            idempotency_seconds=3600,
        )


def small(seed: int) -> Plan:
    """Give a plan that takes half a minute."""
    return Plan(
        jobs=300,
        seed=seed,
        faults={
            "worker killed": 3,
            "worker frozen": 1,
            "database killed": 1,
            "network: reset": 1,
            "network: delay": 1,
        },
        workers=3,
        concurrency=10,
        batch=20,
        ahead=120,
        longest_pause=1.0,
    )
