"""Everything that is looked up when somebody scrapes."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from api.services.monitoring.labels import OTHER, short
from api.services.monitoring.queue_state import (
    ACTIVE,
    Counts,
    JobCounts,
    Kept,
)
from llm_sdks.resilience.circuit_breaker import BreakerState
from llm_sdks.resilience.model_gate import GateState, ModelGates
from utilities.clock import Clock, now_ms

# The number of models and operations with series of their own.
MOST_SHOWN = 30

_BREAKER = {
    BreakerState.CLOSED: 0,
    BreakerState.HALF_OPEN: 1,
    BreakerState.OPEN: 2,
}


@dataclass(frozen=True, slots=True)
class SpoolSize:
    """What waits on disk for the database."""

    files: int = 0
    bytes: int = 0


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"metasync_{name}", text, labels=labels)


class QueueCollector(Collector):
    """The state of the queue in the database, as `Kept` knows it."""

    def __init__(
        self,
        active: Kept[JobCounts],
        ended: Kept[JobCounts],
        clock: Clock = now_ms,
    ) -> None:
        self._active = active
        self._ended = ended
        self._clock = clock

    def describe(self) -> Iterator[Metric]:
        """Name the metrics."""
        return self._families(JobCounts(), JobCounts())

    def collect(self) -> Iterator[Metric]:
        """Show what is known; nothing before anybody has looked."""
        known = self._active.value, self._ended.value
        yield from self._families(*(each or JobCounts() for each in known))

    def _families(
        self, active: JobCounts, ended: JobCounts
    ) -> Iterator[Metric]:
        models = _largest(active.by_model, ended.by_model)
        yield _counts(
            _gauge(
                "jobs",
                "Jobs in the database, by status and model",
                "status",
                "model",
            ),
            {**active.by_model, **ended.by_model},
            models,
        )
        yield _counts(
            _gauge(
                "jobs_by_operation",
                "Jobs in the database, by status and operation",
                "status",
                "operation",
            ),
            {**active.by_operation, **ended.by_operation},
            _largest(active.by_operation, ended.by_operation),
        )
        yield self._oldest(active, models)
        workers = _gauge("workers", "Workers, by wanted status", "status")
        for status, count in active.workers.items():
            workers.add_metric([status], count)
        yield workers
        yield self._ages()

    def _oldest(
        self, active: JobCounts, models: Mapping[str, str]
    ) -> GaugeMetricFamily:
        family = _gauge(
            "oldest_waiting_job_seconds",
            "How long the oldest PENDING job has waited since it was "
            "submitted or set back",
            "model",
        )
        first: dict[str, int] = {}
        for name, since in active.oldest.items():
            label = models.get(name, OTHER)
            first[label] = min(since, first.get(label, since))
        now = self._clock()
        for label, since in first.items():
            family.add_metric([label], max(now - since, 0) / 1000)
        return family

    def _ages(self) -> GaugeMetricFamily:
        family = _gauge(
            "queue_state_age_seconds",
            "Age of the counts of jobs from the database",
            "part",
        )
        parts = (("active", self._active), ("ended", self._ended))
        for part, kept in parts:
            if kept.age is not None:
                family.add_metric([part], kept.age)
        return family


@dataclass(slots=True)
class _Calls:
    """The gates of one label, added up."""

    running: int = 0
    waiting: int = 0
    limits: list[int] = field(default_factory=list)
    breaker: int = 0
    paused: float = 0.0

    def add(self, state: GateState) -> None:
        """Add calls; of breakers and pauses, the worst counts."""
        self.running += state.running
        self.waiting += state.waiting
        if state.concurrency_limit is not None:
            self.limits.append(state.concurrency_limit)
        self.breaker = max(self.breaker, _BREAKER[state.breaker])
        self.paused = max(self.paused, state.paused_seconds)


class GateCollector(Collector):
    """How calls to models go just now, in this process."""

    def __init__(self, gates: ModelGates, label: Callable[[str], str]) -> None:
        self._gates = gates
        self._label = label

    def describe(self) -> Iterator[Metric]:
        """Name the metrics."""
        return self._families({})

    def collect(self) -> Iterator[Metric]:
        """Ask every gate."""
        calls: dict[str, _Calls] = {}
        for name, gate in self._gates.named():
            calls.setdefault(self._label(name), _Calls()).add(gate.state())
        return self._families(calls)

    @staticmethod
    def _families(calls: Mapping[str, _Calls]) -> Iterator[Metric]:
        def family(
            name: str, text: str, value: Callable[[_Calls], float]
        ) -> Metric:
            made = _gauge(name, text, "model")
            for label, each in calls.items():
                made.add_metric([label], value(each))
            return made

        yield family(
            "llm_calls_in_flight", "Running calls", lambda c: c.running
        )
        yield family(
            "llm_calls_waiting",
            "Calls that wait because of the model's limit",
            lambda c: c.waiting,
        )
        limit = _gauge(
            "llm_concurrency_limit",
            "Limit of calls at once to the model; absent: no limit",
            "model",
        )
        for label, each in calls.items():
            if each.limits:
                limit.add_metric([label], sum(each.limits))
        yield limit
        yield family(
            "breaker_state",
            "The model's circuit breaker: 0 closed, 1 half open, 2 open",
            lambda c: c.breaker,
        )
        yield family(
            "model_paused_seconds",
            "Remaining time of the model's pause after rate limits",
            lambda c: c.paused,
        )


class SuspensionCollector(Collector):
    """Models to which no calls are made: their accounts are stopped."""

    def __init__(
        self,
        suspended: Callable[[], Mapping[str, str]],
        label: Callable[[str], str],
    ) -> None:
        self._suspended = suspended
        self._label = label

    def describe(self) -> Iterator[Metric]:
        """Name the metric."""
        return self._families({})

    def collect(self) -> Iterator[Metric]:
        """Show those that are suspended now."""
        return self._families(self._suspended())

    def _families(self, suspended: Mapping[str, str]) -> Iterator[Metric]:
        family = _gauge(
            "model_suspended",
            "1 while the model is suspended; absent: it is not",
            "model",
            "reason",
        )
        shown = {
            (self._label(name), reason) for name, reason in suspended.items()
        }
        for key in sorted(shown):
            family.add_metric(key, 1)
        yield family


class SpoolCollector(Collector):
    """What of this process waits on disk."""

    def __init__(self, size: Callable[[], SpoolSize]) -> None:
        self._size = size

    def describe(self) -> Iterator[Metric]:
        """Name the metrics."""
        return self._families(SpoolSize())

    def collect(self) -> Iterator[Metric]:
        """Look at the disk."""
        return self._families(self._size())

    @staticmethod
    def _families(size: SpoolSize) -> Iterator[Metric]:
        files = _gauge(
            "spool_files", "Files of answers that wait for the database"
        )
        files.add_metric([], size.files)
        yield files
        total = _gauge("spool_bytes", "Size of those files")
        total.add_metric([], size.bytes)
        yield total


def _largest(active: Counts, ended: Counts) -> dict[str, str]:
    """Choose who has a series of their own; give each its label.

    First those with the most jobs waiting and running.
    """
    now, ever = Counter[str](), Counter[str]()
    for (_, name), count in active.items():
        now[name] += count
    for (_, name), count in ended.items():
        ever[name] += count
    names = sorted({*now, *ever}, key=lambda n: (-now[n], -ever[n], n))
    return {name: short(name) for name in names[:MOST_SHOWN]}


def _counts(
    family: GaugeMetricFamily, counts: Counts, labels: Mapping[str, str]
) -> GaugeMetricFamily:
    shown = Counter[tuple[str, str]]()
    for (status, name), count in counts.items():
        label = labels.get(name, OTHER)
        shown[status, label] += count
        # An empty queue is 0, not nothing.
        shown.update({(str(each), label): 0 for each in ACTIVE})
    for key, count in sorted(shown.items()):
        family.add_metric(key, count)
    return family
