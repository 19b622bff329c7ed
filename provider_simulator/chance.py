"""What chance decides, the same for the same seed and order of calls."""

import math
from random import Random

from provider_simulator.settings import (
    FailureKind,
    LatencyDistribution,
    SimulatorSettings,
)


class Chance:
    """Draws latencies and failures, each from a sequence of its own."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self._settings = settings
        self._latencies = _sequence("latency", settings.seed)
        self._failures = _sequence("failure", settings.seed)

    def configure(self, settings: SimulatorSettings) -> None:
        """Take settings over; a new seed begins new sequences."""
        if settings.seed != self._settings.seed:
            self._latencies = _sequence("latency", settings.seed)
            self._failures = _sequence("failure", settings.seed)
        self._settings = settings

    def failure(self) -> FailureKind | None:
        """Draw what goes wrong with a call, if anything."""
        if not self._settings.failures:
            return None
        # One number decides, so that the kinds' chances add up.
        left = self._failures.random()
        for kind, probability in self._settings.failures.items():
            left -= probability
            if left < 0:
                return kind
        return None

    def latency(self) -> float:
        """Draw the seconds before an answer."""
        mean = self._settings.latency_ms / 1000
        spread = self._settings.latency_spread_ms / 1000
        draw = self._latencies
        match self._settings.latency_distribution:
            case LatencyDistribution.NORMAL:
                seconds = draw.gauss(mean, spread)
            case LatencyDistribution.LOGNORMAL:
                seconds = _lognormal(draw, mean, spread)
            case LatencyDistribution.UNIFORM:
                seconds = draw.uniform(mean - spread, mean + spread)
            case LatencyDistribution.EXPONENTIAL:
                seconds = draw.expovariate(1 / mean) if mean else 0.0
            case LatencyDistribution.FIXED:
                seconds = mean
        return max(seconds, 0.0)


def _sequence(name: str, seed: int) -> Random:
    return Random(f"{name} {seed}")  # noqa: S311 - not for secrets


def _lognormal(draw: Random, mean: float, spread: float) -> float:
    """Draw from the lognormal with this mean and standard deviation."""
    if not mean:
        return 0.0
    variance = math.log1p((spread / mean) ** 2)
    return draw.lognormvariate(
        math.log(mean) - variance / 2, math.sqrt(variance)
    )
