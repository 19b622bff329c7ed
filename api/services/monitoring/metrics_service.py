"""One process's metrics, as Prometheus reads them."""

import asyncio
from collections.abc import Callable, Mapping

from prometheus_client import (
    CollectorRegistry,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from api.services.monitoring.collectors import (
    GateCollector,
    QueueCollector,
    SpoolCollector,
    SpoolSize,
    SuspensionCollector,
)
from api.services.monitoring.instruments import Instruments
from api.services.monitoring.queue_state import (
    JobCounts,
    Kept,
    QueueState,
)
from config import VERSION
from llm_sdks.resilience.model_gate import ModelGates
from utilities.clock import Clock, now_ms

ACTIVE_SECONDS = 5.0
ENDED_SECONDS = 30.0
# A scrape waits no longer for the database: what is known is shown.
_PATIENCE_SECONDS = 3.0


class MetricsService:
    """The registry of one process and what feeds it."""

    def __init__(self, clock: Clock = now_ms) -> None:
        # A registry of our own: tests run several services in a process.
        self.registry = CollectorRegistry()
        # Whether other processes answer on this one's port.
        self.is_one_of_many = False
        # They would double the series, to tell when each began.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.observer = Instruments(self.registry, clock)
        self._clock = clock
        self._kept: tuple[Kept[JobCounts], ...] = ()
        ProcessCollector(registry=self.registry)
        info = Info("metasync_build", "What runs", registry=self.registry)
        info.info({"version": VERSION})

    def watch(
        self,
        gates: ModelGates,
        spool_size: Callable[[], SpoolSize],
        queue: QueueState,
        suspended: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        """Show these whenever somebody scrapes."""
        active = Kept(queue.active, ACTIVE_SECONDS)
        ended = Kept(queue.ended, ENDED_SECONDS)
        self._kept = (active, ended)
        for collector in (
            GateCollector(gates, self.observer.model),
            SpoolCollector(spool_size),
            SuspensionCollector(suspended, self.observer.model),
            QueueCollector(active, ended, self._clock),
        ):
            self.registry.register(collector)

    async def page(self) -> bytes:
        """Write everything in Prometheus' text format."""
        await asyncio.gather(
            *(kept.look(_PATIENCE_SECONDS) for kept in self._kept)
        )
        # In a thread: it may be some hundred kilobytes, and reads the disk.
        return await asyncio.to_thread(generate_latest, self.registry)
