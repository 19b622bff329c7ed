"""The contents of files: compressed pieces, one a document.

A piece has 1 MiB of the file, so that no file is ever in memory whole, and
its document is small enough for every server. It is text, since not every
store keeps bytes well.
"""

import asyncio
import base64
import hashlib
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from api.core.errors import NotFoundError
from utilities.cosmos_connector import Document, Documents, ObjectId

PIECE_BYTES = 1024 * 1024
# Fast; a line's words come again in the next ones, so it saves enough.
_LEVEL = 1


@dataclass
class PieceWriter:
    """Stores a file's content while it comes in.

    The ids of the pieces follow from the file's: written again after a
    crash, the same content makes the same documents.
    """

    documents: Documents
    file_id: str
    client_id: str
    size: int = 0
    pieces: int = 0

    def __post_init__(self) -> None:
        """Begin with nothing."""
        self._waiting = bytearray()
        self._digest = hashlib.sha256()

    @property
    def digest(self) -> str:
        """The SHA-256 of what is stored, in hexadecimal digits."""
        return self._digest.hexdigest()

    async def add(self, content: bytes) -> None:
        """Take the next bytes."""
        self.size += len(content)
        self._waiting += content
        while len(self._waiting) >= PIECE_BYTES:
            await self._store(bytes(self._waiting[:PIECE_BYTES]))
            del self._waiting[:PIECE_BYTES]

    async def close(self) -> None:
        """Store what is left."""
        if self._waiting:
            await self._store(bytes(self._waiting))
            self._waiting.clear()

    async def _store(self, content: bytes) -> None:
        text = await asyncio.to_thread(_packed, content, self._digest)
        piece: Document = {
            "_id": _id_of(self.file_id, self.pieces),
            "clientId": self.client_id,
            "fileId": self.file_id,
            "content": text,
            "_metadata.isDeleted": False,
        }
        await self.documents.put_each([piece])
        self.pieces += 1


async def read_pieces(
    documents: Documents, file_id: str, pieces: int
) -> AsyncIterator[bytes]:
    """Yield a file's content, piece by piece.

    Raises:
        NotFoundError: it was removed meanwhile.
    """
    for number in range(pieces):
        found = await documents.find_one({"_id": _id_of(file_id, number)})
        if found is None:
            raise NotFoundError("The file's content")
        yield await asyncio.to_thread(_unpacked, found["content"])


def _packed(content: bytes, digest: "hashlib._Hash") -> str:
    digest.update(content)
    return base64.b64encode(zlib.compress(content, _LEVEL)).decode()


def _unpacked(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text))


def _id_of(file_id: str, number: int) -> ObjectId:
    text = f"file/{file_id}/{number}"
    return ObjectId(hashlib.sha256(text.encode()).digest()[:12])
