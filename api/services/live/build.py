"""Wires live events; no I/O happens here."""

from collections.abc import Awaitable, Callable

from api.services.live.changes import Changes
from api.services.live.event_log import EventLog
from api.services.live.gatherer import EventGatherer
from api.services.live.hub import Hub
from api.services.models.model_service import ModelService
from api.services.workers.worker_service import WorkerService
from utilities.clock import Clock
from utilities.cosmos_connector import Documents
from utilities.signals import Signals


def build_gatherer(
    hub: Hub,
    event_log: EventLog,
    models: ModelService,
    workers: WorkerService,
    documents: Callable[[str], Documents],
    signals: Signals,
    clock: Clock,
    refresh: Callable[[], Awaitable[None]],
) -> EventGatherer:
    """Make what finds out what happens.

    `refresh` has ends of jobs noted, if the log is read.
    """
    return EventGatherer(
        hub,
        event_log,
        Changes(documents("runs"), models, workers),
        documents("jobs"),
        signals,
        refresh,
        clock,
    )
