"""Wires keeping and forgetting; no I/O happens here."""

from collections.abc import Callable
from dataclasses import dataclass

from api.services.keeping.erasure import (
    ErasedClients,
    Eraser,
    EraserTimes,
    ErasureService,
)
from api.services.keeping.retention import Retention
from api.services.monitoring.observer import Observer
from api.services.queue.flights import FLIGHTS, Flights
from config import Settings
from utilities.clock import Clock
from utilities.cosmos_connector import ClientManager, Documents
from utilities.signals import Signals
from utilities.supervision import Part

# What stops a disabled client's work needs some seconds more.
_MARGIN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class KeepingParts:
    """What a process has for keeping and forgetting."""

    erasure: ErasureService
    erased: ErasedClients
    background: tuple[Part, ...]


def build_keeping(
    documents: Callable[[str], Documents],
    clients: ClientManager,
    signals: Signals,
    clock: Clock,
    observer: Observer,
    settings: Settings,
) -> KeepingParts:
    """Make the service and what runs beside the requests."""
    erasures = documents("erasures")
    settle = settings.stop_grace_seconds + _MARGIN_SECONDS
    return KeepingParts(
        ErasureService(erasures, documents("clients"), signals, clock),
        ErasedClients(erasures),
        (
            Eraser(
                documents,
                clients,
                signals,
                EraserTimes(settle=settle),
                clock,
            ),
            Retention(
                documents,
                clients,
                settings.retention_days,
                observer=observer,
                clock=clock,
                flights=Flights(documents(FLIGHTS), documents("jobs"), clock),
            ),
        ),
    )
