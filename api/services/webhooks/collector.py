"""Turns notes of what was about to end into events of what has ended."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from api.models.batch_models import (
    BATCH_LINE,
    ENDED,
    PREFIXES,
    BatchCounts,
)
from api.models.job_status import JobStatus
from api.models.run_models import RunStatus
from api.models.webhook_models import EventType
from api.services.shared.endings import ENDINGS, EndingKind
from api.services.shared.events import Event
from api.services.webhooks.directory import Directory
from api.services.webhooks.outbox import Outbox
from utilities import payload
from utilities.clock import Clock, now_ms, to_datetime
from utilities.cosmos_connector import (
    Document,
    Documents,
    StoreError,
    current_actor,
)
from utilities.signals import Signals
from utilities.tasks import Loop

WEBHOOKS_CHANGED = "webhooks"
_EVERY_SECONDS, _WITHOUT_WEBHOOKS = 1.0, 2.0
_BLOCK = 50
# Another process takes over what this one has taken and not done.
_TAKEN_MS = 5_000
# A note whose end is still not stored is looked at ever more rarely; after
# a day, what writes it is long gone.
_LONGEST_PAUSE_MS = 60_000
_FORGOTTEN_MS = 24 * 3600 * 1000

_OF_JOB: Mapping[str, EventType] = {
    JobStatus.PROCESSED: EventType.JOB_PROCESSED,
    JobStatus.CONSUMED: EventType.JOB_PROCESSED,
    JobStatus.ERROR_CONSUMING: EventType.JOB_PROCESSED,
    JobStatus.ERROR_PROCESSING: EventType.JOB_FAILED,
    JobStatus.CANCELED: EventType.JOB_CANCELLED,
}
_OF_RUN: Mapping[str, EventType] = {
    RunStatus.COMPLETED: EventType.RUN_COMPLETED,
    RunStatus.FAILED: EventType.RUN_FAILED,
    RunStatus.CANCELLED: EventType.RUN_CANCELLED,
}
_OF_BATCH: Mapping[str, EventType] = dict.fromkeys(
    ENDED, EventType.BATCH_ENDED
)
_BATCH_FIELDS = ("clientId", "status", "vendor", "total", "counts")
_JOB_FIELDS = (
    "clientId",
    "status",
    "operation",
    "model",
    "startedAt",
    "finishedAt",
    "clientReference",
    "errorType",
)
_RUN_FIELDS = (
    "clientId",
    "status",
    "attempt",
    "finishReason",
    "failureReason",
)

log = structlog.get_logger(__name__)


class EndedCollector(Loop):
    """Knows the webhooks, and makes the events of jobs and runs."""

    name = "events"
    vital = False

    def __init__(
        self,
        notes: Documents,
        ended: Mapping[EndingKind, Documents],
        directory: Directory,
        outbox: Outbox,
        signals: Signals,
        clock: Clock = now_ms,
    ) -> None:
        super().__init__()
        self._notes = notes
        self._ended = ended
        self._directory = directory
        self._outbox = outbox
        self._signals = signals
        self._clock = clock

    async def run(self) -> None:
        """Collect until stopped."""
        current_actor.set("events")
        self.attach()
        topics = (ENDINGS, WEBHOOKS_CHANGED)
        for topic in topics:
            self._signals.subscribe(topic, self.wake_safely)
        try:
            while not self.stopping:
                await self._round()
                is_used = bool(self._directory.ids)
                await self.pause(
                    _EVERY_SECONDS if is_used else _WITHOUT_WEBHOOKS
                )
        finally:
            for topic in topics:
                self._signals.unsubscribe(topic, self.wake_safely)

    async def _round(self) -> None:
        try:
            await self._directory.refresh()
            while self._directory.ids and await self.collect():
                pass
        except StoreError as error:
            log.warning("events_not_made", error=type(error).__name__)

    async def collect(self) -> int:
        """Look at a block of notes; return how many there were.

        Raises:
            StoreError: those that were not done are looked at again.
        """
        notes = await self._take()
        now = self._clock()
        done = []
        left = []
        for note in notes:
            missing = await self._tell(note)
            if not missing or now - note["notedAt"] > _FORGOTTEN_MS:
                done.append(note["_id"])
            else:
                left.append((note, missing))
        if done:
            await self._notes.erase({"_id": {"$in": done}})
        if left:
            await self._notes.update_each(
                [_later(note, missing, now) for note, missing in left]
            )
        return len(notes)

    async def _take(self) -> list[Document]:
        now, token = self._clock(), secrets.token_hex(16)
        due = {"lookAt": {"$lte": now}}
        found = await self._notes.find(
            due, sort=[("lookAt", 1)], limit=_BLOCK, fields=["_id"]
        )
        if not found:
            return []
        ids = [note["_id"] for note in found]
        taken = {"token": token, "lookAt": now + _TAKEN_MS}
        await self._notes.patch({"_id": {"$in": ids}, **due}, {"$set": taken})
        return await self._notes.find({"_id": {"$in": ids}, "token": token})

    async def _tell(self, note: Document) -> list[Any]:
        """Make the events of what has ended; return the ids of the rest."""
        kind = EndingKind(note["kind"])
        fields, types, of = _KINDS[kind]
        found = await self._ended[kind].find(
            {"_id": {"$in": note["ids"]}}, fields=fields
        )
        ended = [each for each in found if each.get("status") in types]
        # In the order in which they end, as far as it can be known.
        events = [
            of(each, types[each["status"]], note["notedAt"])
            for each in ended
            # Of a batch, the end of all its lines is told.
            if each.get("operation") != BATCH_LINE
        ]
        await self._outbox.emit_all(events)
        # What is not found was deleted: nobody needs to be told.
        told = {each["_id"] for each in ended}
        return [each["_id"] for each in found if each["_id"] not in told]


def _later(
    note: Document, missing: Sequence[Any], now: int
) -> tuple[Document, Document]:
    pause = min(max(now - note["notedAt"], 100), _LONGEST_PAUSE_MS)
    where = {"_id": note["_id"], "token": note["token"]}
    return where, {"ids": list(missing), "lookAt": now + pause}


def _of_job(job: Document, kind: EventType, noted: int) -> Event:
    finished = job.get("finishedAt") or noted
    reference = job.get("clientReference")
    data = {
        "jobId": str(job["_id"]),
        "clientId": job["clientId"],
        "status": job["status"],
        "errorType": job.get("errorType") or None,
        "operation": job.get("operation"),
        "model": job.get("model"),
        "clientReference": payload.load(reference) if reference else None,
        "startedAt": _time(job.get("startedAt")),
        "finishedAt": _time(job.get("finishedAt")),
    }
    # Set to PENDING, a job has another start.
    key = f"job\x00{job['_id']}\x00{job.get('startedAt')}\x00{kind}"
    return Event(kind, data, finished, job["clientId"], key)


def _of_run(run: Document, kind: EventType, noted: int) -> Event:
    data = {
        "runId": str(run["_id"]),
        "clientId": run["clientId"],
        "status": run["status"],
        "finishReason": run.get("finishReason"),
        "failureReason": run.get("failureReason"),
    }
    key = f"run\x00{run['_id']}\x00{run.get('attempt')}\x00{kind}"
    return Event(kind, data, noted, run["clientId"], key)


def _of_batch(batch: Document, kind: EventType, noted: int) -> Event:
    counts = BatchCounts.model_validate(batch.get("counts") or {})
    data = {
        "batchId": f"{PREFIXES[batch['vendor']]}{batch['_id']}",
        "clientId": batch["clientId"],
        "status": batch["status"],
        "requestCounts": {
            "total": batch.get("total") or 0,
            "completed": counts.succeeded,
            "failed": counts.failed,
        },
    }
    key = f"batch\x00{batch['_id']}"
    return Event(kind, data, noted, batch["clientId"], key)


def _time(milliseconds: int | None) -> str | None:
    if milliseconds is None:
        return None
    return to_datetime(milliseconds).isoformat().replace("+00:00", "Z")


_Reader = Callable[[Document, EventType, int], Event]
_KINDS: Mapping[
    EndingKind, tuple[Sequence[str], Mapping[str, EventType], _Reader]
] = {
    EndingKind.JOB: (_JOB_FIELDS, _OF_JOB, _of_job),
    EndingKind.RUN: (_RUN_FIELDS, _OF_RUN, _of_run),
    EndingKind.BATCH: (_BATCH_FIELDS, _OF_BATCH, _of_batch),
}
