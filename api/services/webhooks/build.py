"""Wires the webhooks of a process; no I/O happens here."""

from collections.abc import Callable
from dataclasses import dataclass

from api.services.monitoring.observer import Observer
from api.services.shared.client_states import ClientStates
from api.services.shared.endings import COLLECTION, EndingKind, Endings
from api.services.webhooks.collector import EndedCollector
from api.services.webhooks.deliverer import Deliverer
from api.services.webhooks.delivery_store import DeliveryStore
from api.services.webhooks.directory import Directory
from api.services.webhooks.outbox import Outbox
from api.services.webhooks.sender import Sender
from api.services.webhooks.signing import Signer
from api.services.webhooks.webhook_service import WebhookService
from utilities.clock import Clock
from utilities.cosmos_connector import Documents
from utilities.signals import Signals
from utilities.supervision import Part


@dataclass(frozen=True, slots=True)
class WebhookParts:
    """What a process has for webhooks; `outbox` takes events of any kind."""

    service: WebhookService
    outbox: Outbox
    background: tuple[Part, ...]


def build_webhooks(
    documents: Callable[[str], Documents],
    endings: Endings,
    signals: Signals,
    clock: Clock,
    observer: Observer,
    *,
    pepper: str,
    allow_private: bool,
) -> WebhookParts:
    """Make the service, the outbox and what runs beside the requests."""
    webhooks = documents("webhooks")
    deliveries = documents("webhook_deliveries")
    states = ClientStates(documents("clients"))
    directory = Directory(webhooks, endings, states)
    outbox = Outbox(deliveries, directory, signals, clock)
    signer = Signer(pepper)
    service = WebhookService(
        webhooks,
        deliveries,
        directory,
        outbox,
        signer,
        signals,
        allow_private=allow_private,
        clock=clock,
    )
    collector = EndedCollector(
        documents(COLLECTION),
        {
            EndingKind.JOB: documents("jobs"),
            EndingKind.RUN: documents("runs"),
            EndingKind.BATCH: documents("batches"),
        },
        directory,
        outbox,
        signals,
        clock,
    )
    deliverer = Deliverer(
        DeliveryStore(deliveries, clock),
        directory,
        signer,
        lambda: Sender(allow_private=allow_private),
        signals,
        service.disable_gone,
        observer=observer,
        clock=clock,
    )
    return WebhookParts(service, outbox, (collector, deliverer))
