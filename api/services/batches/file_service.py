"""Files: stored while they come in, listed, read, deleted."""

from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from api.core.errors import NotFoundError, OverloadedError, TooLargeError
from api.models.batch_models import (
    FilePurpose,
    FileRecord,
    FileStatus,
    Vendor,
)
from api.services.batches.file_pieces import PieceWriter, read_pieces
from api.services.batches.paging import (
    Listed,
    Window,
    listed,
    new_sequence,
    object_id_of,
)
from utilities.clock import Clock, now_ms
from utilities.cosmos_connector import Document, Documents, ObjectId

FILE_PREFIX = "file-"
# As OpenAI keeps the files of batches.
DEFAULT_SECONDS = 30 * 86_400
# An upload that takes longer has been given up.
UPLOAD_SECONDS = 3600
_LONGEST_NAME = 512
# Of one process: each has some megabytes of memory, and a thread now and
# then.
_MOST_UPLOADS = 16


@dataclass
class NewFile:
    """A file that is being written."""

    record: Document
    writer: PieceWriter
    most_bytes: int | None = None

    @property
    def file_id(self) -> str:
        """Its id."""
        return str(self.record["_id"])

    async def add(self, content: bytes) -> None:
        """Take the next bytes.

        Raises:
            TooLargeError: the file is larger than one may be.
        """
        most = self.most_bytes
        if most is not None and self.writer.size + len(content) > most:
            raise TooLargeError(f"The limit is {most} bytes a file")
        await self.writer.add(content)


class FileService:
    """Keeps the files of all clients; each sees its own."""

    def __init__(
        self, files: Documents, pieces: Documents, clock: Clock = now_ms
    ) -> None:
        self._files = files
        self._pieces = pieces
        self._clock = clock
        self._uploads = 0

    @contextmanager
    def uploading(self) -> Iterator[None]:
        """Count as an upload that is under way.

        Raises:
            OverloadedError: there are too many of them.
        """
        if self._uploads >= _MOST_UPLOADS:
            raise OverloadedError(
                "Too many files are being uploaded; try again"
            )
        self._uploads += 1
        try:
            yield
        finally:
            self._uploads -= 1

    async def begin(
        self,
        client_id: str,
        filename: str,
        *,
        vendor: Vendor = Vendor.OPENAI,
        most_bytes: int | None = None,
    ) -> NewFile:
        """Begin an upload: nobody sees the file before `finish`."""
        now = self._clock()
        record = {
            **_record(ObjectId(), client_id, filename, vendor, now),
            "expiresAt": now + UPLOAD_SECONDS * 1000,
        }
        await self._files.insert(record)
        return NewFile(record, self._writer(record), most_bytes)

    async def output(
        self, file_id: ObjectId, client_id: str, filename: str, vendor: Vendor
    ) -> NewFile:
        """Write a file whose id is known; a repeated one replaces itself."""
        now = self._clock()
        record = {
            **_record(file_id, client_id, filename, vendor, now),
            "purpose": FilePurpose.BATCH_OUTPUT,
            "expiresAt": now + UPLOAD_SECONDS * 1000,
        }
        await self._files.insert_many([record])
        return NewFile(record, self._writer(record))

    async def finish(self, new: NewFile, expires_at: int | None) -> FileRecord:
        """Store what is left of a file, and show it.

        Raises:
            NotFoundError: its client was erased meanwhile.
        """
        await new.writer.close()
        changes: Document = {
            "size": new.writer.size,
            "pieces": new.writer.pieces,
            "digest": new.writer.digest,
            "status": FileStatus.PROCESSED,
            "expiresAt": expires_at,
        }
        # Not again: its client may have deleted it since.
        where = {"_id": new.record["_id"], "status": FileStatus.UPLOADING}
        await self._files.update(where, changes)
        found = await self._files.find_one({"_id": new.record["_id"]})
        if found is None:
            raise NotFoundError(f"The file {shown_id(new.file_id)}")
        return FileRecord.from_document(found)

    async def discard(self, file_id: str) -> None:
        """Remove a file for good."""
        await self._pieces.erase({"fileId": file_id})
        await self._files.erase({"_id": ObjectId(file_id)})

    async def get(self, client_id: str, shown: str) -> FileRecord:
        """Return one of a client's files.

        Raises:
            NotFoundError: there is none.
        """
        own_id = object_id_of(shown, FILE_PREFIX)
        where = {**self._visible(client_id), "_id": own_id}
        found = await self._files.find_one(where) if own_id else None
        if found is None:
            raise NotFoundError(f"The file {shown[:100]!r} was")
        return FileRecord.from_document(found)

    async def of_id(self, file_id: str) -> FileRecord | None:
        """Return a file whoever has it, also one that nobody sees."""
        found = await self._files.find_one({"_id": ObjectId(file_id)})
        return None if found is None else FileRecord.from_document(found)

    async def page(
        self, client_id: str, window: Window, purpose: str | None = None
    ) -> Listed[FileRecord]:
        """List a client's files.

        Raises:
            ParameterError: the id that it is to begin with is none of them.
        """
        where = self._visible(client_id)
        if purpose is not None:
            where["purpose"] = purpose
        found = await listed(self._files, where, window, FILE_PREFIX)
        items = [FileRecord.from_document(each) for each in found.items]
        return Listed(items, found.has_more)

    async def delete(self, client_id: str, shown: str) -> None:
        """Delete a client's file; a batch that reads it goes on.

        Raises:
            NotFoundError: there is none.
        """
        record = await self.get(client_id, shown)
        await self.hide(record.file_id)

    async def hide(self, file_id: str) -> None:
        """Show a file to nobody any more; it is removed a little later."""
        where = {"_id": ObjectId(file_id), "status": FileStatus.PROCESSED}
        await self._files.update(where, {"status": FileStatus.DELETED})

    def content(self, record: FileRecord) -> AsyncIterator[bytes]:
        """Yield a file's content."""
        return read_pieces(self._pieces, record.file_id, record.pieces)

    async def removable(
        self, limit: int, in_use: Collection[str]
    ) -> list[str]:
        """Return ids of files that were deleted or have expired.

        Those that are `in_use` stay for now.
        """
        left: Document = {"_id": {"$nin": [ObjectId(each) for each in in_use]}}
        due = {"expiresAt": {"$gt": 0, "$lte": self._clock()}}
        deleted = {"status": {"$eq": FileStatus.DELETED}}
        found: list[str] = []
        for where in (deleted, due):
            rows = await self._files.find(
                {**where, **left}, limit=limit, fields=["_id"]
            )
            found += [str(each["_id"]) for each in rows]
        return list(dict.fromkeys(found))

    def _visible(self, client_id: str) -> Document:
        return {
            "clientId": client_id,
            "vendor": Vendor.OPENAI,
            "status": FileStatus.PROCESSED,
        }

    def _writer(self, record: Document) -> PieceWriter:
        return PieceWriter(
            self._pieces, str(record["_id"]), record["clientId"]
        )


def _clean(filename: str) -> str:
    # For some stores, a text ends at a null character.
    return filename.replace("\x00", "")[:_LONGEST_NAME]


def shown_id(file_id: str) -> str:
    """Give a file's id as it is shown."""
    return f"{FILE_PREFIX}{file_id}"


def _record(
    own_id: ObjectId, client_id: str, filename: str, vendor: Vendor, now: int
) -> Document:
    return {
        "_id": own_id,
        "clientId": client_id,
        "vendor": vendor,
        "purpose": FilePurpose.BATCH,
        "filename": _clean(filename),
        "size": 0,
        "pieces": 0,
        "status": FileStatus.UPLOADING,
        "madeAt": now,
        "sequence": new_sequence(now),
    }
