"""Notes of what is about to end, so that no end goes untold.

A server without transactions cannot store that a job has ended and that
somebody must be told, both or neither. So the note comes first: before a
status that is an end is written, the ids are noted; later the notes are
read, and what has ended by then is told. A process that dies in between
leaves the note. If the end was never stored, the job goes on, and its next
end has a note of its own. Where nobody wants to know, nothing is noted.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

from utilities.clock import Clock, now_ms
from utilities.cosmos_connector import (
    BulkWriteError,
    Document,
    Documents,
    Filter,
    ObjectId,
    OperationFailure,
)
from utilities.signals import Signals

COLLECTION = "webhook_endings"
ENDINGS = "endings"
# The writing of the end itself comes after its note.
_FIRST_LOOK_MS = 50


class EndingKind(StrEnum):
    """What can end."""

    JOB = "job"
    RUN = "run"
    BATCH = "batch"


class Endings:
    """Notes what is about to end, if its client wants to be told."""

    def __init__(
        self,
        documents: Documents | None,
        signals: Signals,
        clock: Clock = now_ms,
    ) -> None:
        self._documents = documents
        self._signals = signals
        self._clock = clock
        # Whose ends are wanted; None stands for all clients. Replaced as a
        # whole, since many threads read it.
        self._watched: Mapping[EndingKind, frozenset[str | None]] = {}

    def watch(
        self, watched: Mapping[EndingKind, frozenset[str | None]]
    ) -> None:
        """Set whose ends are wanted; None among them: everybody's."""
        self._watched = watched

    def is_watched(self, kind: EndingKind) -> bool:
        """Tell whether anybody wants to know about ends of this kind."""
        return bool(self._watched.get(kind))

    async def expect_jobs(self, jobs: Iterable[Document]) -> None:
        """Note jobs that are about to end, by their documents.

        Raises:
            StoreError: as `expect` raises it.
        """
        ending = ((each.get("clientId") or "", each["_id"]) for each in jobs)
        await self.expect(EndingKind.JOB, ending)

    async def expect_jobs_in(self, jobs: Documents, where: Filter) -> None:
        """Note the jobs that match; they are only read if need be.

        Raises:
            StoreError: as `expect` raises it.
        """
        if self.is_watched(EndingKind.JOB):
            found = await jobs.find(where, fields=["clientId"])
            await self.expect_jobs(found)

    async def expect(
        self, kind: EndingKind, ending: Iterable[tuple[str, ObjectId]]
    ) -> None:
        """Note what is about to end: clients, each with an id.

        Raises:
            StoreError: it is not noted, so the end must not be written.
        """
        wanted = self._watched.get(kind)
        if not wanted or self._documents is None:
            return
        by_client: dict[str, list[ObjectId]] = defaultdict(list)
        for client_id, item_id in ending:
            if client_id in wanted or None in wanted:
                by_client[client_id].append(item_id)
        if by_client:
            notes = [self._note(kind, *each) for each in by_client.items()]
            await _insert(self._documents, notes)
            self._signals.publish(ENDINGS)

    def _note(
        self, kind: EndingKind, client_id: str, ids: list[ObjectId]
    ) -> Document:
        now = self._clock()
        return {
            "_id": ObjectId(),
            "kind": kind,
            "clientId": client_id,
            "ids": ids,
            "notedAt": now,
            "lookAt": now + _FIRST_LOOK_MS,
        }


async def _insert(documents: Documents, notes: list[Document]) -> None:
    try:
        await documents.insert_many(notes)
    except BulkWriteError as error:
        # What stores results would take its parts for theirs.
        raise OperationFailure(
            "The notes of ends were refused", error.code
        ) from error


# For those who run without webhooks; nothing is ever noted.
NO_ENDINGS: Final = Endings(None, Signals())
