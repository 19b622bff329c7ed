"""Wires the audit; no I/O happens here."""

from collections.abc import Callable
from dataclasses import dataclass

from api.services.access.audit.audit_log import (
    CHAINS,
    ENTRIES,
    AuditLog,
    AuditWriter,
)
from api.services.access.audit.audit_service import AuditService
from api.services.access.audit.chain import chain_key
from api.services.access.audit.journal import Journal
from api.services.access.audit.syslog import SyslogSender, SyslogServer
from api.services.monitoring.observer import Observer
from config import Settings
from utilities.clock import Clock
from utilities.cosmos_connector import Documents
from utilities.supervision import Part

FOLDER = "audit"


@dataclass(frozen=True, slots=True)
class AuditParts:
    """What a process has for the audit; `log` is None if it is off."""

    service: AuditService
    log: AuditLog | None = None
    background: tuple[Part, ...] = ()


def build_audit(
    documents: Callable[[str], Documents],
    clock: Clock,
    settings: Settings,
    process_id: str,
    observer: Observer,
) -> AuditParts:
    """Make what records, stores and finds entries."""
    entries = documents(ENTRIES)
    service = AuditService(entries)
    if not settings.audit_log:
        return AuditParts(service)
    journal = Journal(settings.data_dir / FOLDER, process_id)
    log = AuditLog(journal, clock, observer)
    senders = []
    if settings.audit_syslog is not None:
        server = SyslogServer.of_url(settings.audit_syslog)
        senders.append(SyslogSender(server, observer))
    writer = AuditWriter(
        log,
        journal,
        entries,
        documents(CHAINS),
        chain=process_id,
        key=chain_key(settings.api_key_pepper.get_secret_value()),
        listeners=[sender.take for sender in senders],
    )
    return AuditParts(service, log, (writer, *senders))
