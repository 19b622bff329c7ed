"""How large a process's pool of workers is, and its time constants."""

from dataclasses import dataclass, field

from llm_workers.supervisor.fairness import FairnessTimes


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """The capacity of one process."""

    max_threads: int
    stop_grace_seconds: float


@dataclass(frozen=True, slots=True)
class PoolTimes:
    """The pool's time constants, in seconds.

    `tick` lies between two rounds, and `soonest` at least. `drain` is what
    running calls get when a worker is stopped through the API, which may be
    longer than when the process ends; `stuck` is what a thread gets beyond
    that to store its results. A slot that is another process's to take is
    taken out of turn after `out_of_turn`. Workers that wait are asked for
    `asking` in one round whether they have jobs.
    """

    tick: float = 1.0
    soonest: float = 0.2
    drain: float = 30.0
    stuck: float = 8.0
    out_of_turn: float = 3.0
    asking: float = 0.3
    crashes_remembered: float = 300.0
    fairness: FairnessTimes = field(default_factory=FairnessTimes)
