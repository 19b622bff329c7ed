"""When calls may be made under a rate: one moment says it for all.

The generic cell rate algorithm (ITU-T I.371): the *theoretical arrival time*
of the next call. Each call moves it on by its cost, so that calls are
spaced evenly, whoever makes them. All times are in ms of the shared clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass

_MINUTE_MS = 60_000.0
# What a delay has cost is made up for by no more than this; after a pause,
# so much comes at once.
BURST_MS = 300.0
# Providers count the calls of any minute: with the burst, and calls that
# are late, there must not be one too many.
_MARGIN = 1.01


@dataclass(frozen=True, slots=True)
class Rate:
    """A number of units (calls or tokens) a minute."""

    per_minute: float

    @property
    def interval(self) -> float:
        """The time that one unit takes."""
        return _MARGIN * _MINUTE_MS / self.per_minute


@dataclass(frozen=True, slots=True)
class Block:
    """Calls that were granted: when each may be made, and what is next."""

    times: tuple[float, ...]
    arrival: float


def grant(
    rate: Rate, arrival: float, now: float, units: Sequence[float]
) -> Block:
    """Grant calls of these sizes, from the theoretical arrival time on."""
    moment = max(arrival, now - BURST_MS)
    times = []
    for each in units:
        times.append(moment)
        moment += each * rate.interval
    return Block(tuple(times), moment)
