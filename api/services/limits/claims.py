"""Which jobs workers need not claim just now, and why, in one place.

A job whose call would not be admitted stays in the queue: claiming it and
putting it back would cost several writes, again and again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llm_sdks.resilience.model_gate import ModelGates


@dataclass(frozen=True, slots=True)
class Share:
    """A model of whose jobs only some may be claimed now.

    `take` asks for a number of jobs and returns how many may be claimed;
    `give_back` returns those that were not found. `room` is how many that
    would be now, and `wait` the seconds until there may be more.
    """

    names: frozenset[str]
    take: Callable[[int], int]
    give_back: Callable[[int], None]
    room: int
    wait: float


@dataclass(frozen=True, slots=True)
class Claimable:
    """What may be claimed now.

    Jobs of models in `names` are left out of ordinary claims; some of them
    may be claimed by their `shares`. `wait_seconds` is when there may be
    more; None if nothing is left out.
    """

    names: frozenset[str] = frozenset()
    shares: tuple[Share, ...] = ()
    wait_seconds: float | None = None

    @property
    def closed(self) -> frozenset[str]:
        """The models of which no job can be claimed."""
        open_ = [share.names for share in self.shares if share.room > 0]
        return self.names.difference(*open_)


class ClaimGuard:
    """Asks the gates of the process, and whatever else limits models."""

    def __init__(
        self,
        gates: ModelGates,
        sources: Sequence[Callable[[], Sequence[Share]]] = (),
    ) -> None:
        self._gates = gates
        self._sources = tuple(sources)

    def look(self) -> Claimable:
        """Tell what may be claimed now."""
        paused = self._gates.unavailable()
        shares = [share for source in self._sources for share in source()]
        if not shares:
            return Claimable(paused.names, (), paused.wait_seconds)
        waits = [share.wait for share in shares]
        if paused.wait_seconds is not None:
            waits.append(paused.wait_seconds)
        # What its gate holds back is not to be claimed by a share either.
        useful = [s for s in shares if not s.names & paused.names]
        names = paused.names.union(*(share.names for share in shares))
        return Claimable(names, tuple(useful), min(waits))
