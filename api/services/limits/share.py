"""A part of a model's waiting jobs that may be claimed now."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Share:
    """A model of whose jobs only some may be claimed now.

    `take` asks for a number of jobs and returns how many may be claimed;
    `give_back` returns those that were not found. `room` is how many that
    would be now. Who gets as many as it may, or none, looks again after
    `wait` seconds.
    """

    names: frozenset[str]
    take: Callable[[int], int]
    give_back: Callable[[int], None]
    room: int
    wait: float
