"""A database's documents in one file: written, checked, restored.

The file is a ZIP with a `manifest.json` and one member for each collection:
its documents as BSON, one after the other, as every server of MongoDB's
protocol gives and takes them. The manifest has the number of documents and
the SHA-256 of each member. Indexes are not in it: `migrate` makes them.
"""

import contextlib
import hashlib
import json
import os
import zipfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import bson
from bson.codec_options import CodecOptions
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from pymongo.asynchronous.collection import AsyncCollection

from utilities.cosmos_connector import ClientManager, retrying
from utilities.store.schema import STEPS, migrate

FORMAT = 1
# What is only true while processes run, or is made anew by a start.
_VOLATILE = frozenset(
    {
        "clock",
        "console_sessions",
        "live_events",
        "live_interest",
        "model_health",
        "readiness",
        "schema_steps",
        "turns",
    }
    | {"worker_holds", "worker_leases", "worker_pools"}
)
# Documents name others that are made before them. Written in this order,
# those are in the file as well, although the database changes meanwhile.
_FIRST = ("webhook_deliveries", "jobs", "runs", "streams", "webhook_endings")
_LAST = ("prompts", "models", "clients")
_MANIFEST = "manifest.json"
_PAGE = 500
_MOST_BYTES_AT_ONCE = 8 * 1024 * 1024
_PIECE = 1024 * 1024
_RAW: CodecOptions[RawBSONDocument] = CodecOptions(
    document_class=RawBSONDocument
)


class DumpError(Exception):
    """A file cannot be written or restored; says why and what to do."""


@dataclass(frozen=True, slots=True)
class Member:
    """A collection in the file."""

    collection: str
    documents: int
    sha256: str

    @property
    def file(self) -> str:
        """Its name in the ZIP."""
        return f"{self.collection}.bson"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a file says of itself."""

    format: int
    version: str
    made_at: str
    schema_steps: int
    members: tuple[Member, ...]

    @property
    def documents(self) -> int:
        """How many there are in all."""
        return sum(member.documents for member in self.members)


async def write_dump(
    clients: ClientManager, path: Path, version: str
) -> Manifest:
    """Write all documents into a new file, which is whole or not there.

    Raises:
        DumpError: the file is there already, or cannot be written.
        StoreError: the database is away.
    """
    with _new_file(path) as file:
        return await _write(clients, file, version)


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[IO[bytes]]:
    """Give a file that gets its name at the end, when all is on disk."""
    if path.exists():
        raise DumpError(f"{path} is there already; choose another name")
    temporary = path.with_name(f".{path.name}.part")
    try:
        flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC
        descriptor = os.open(temporary, flags, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DumpError(f"{path} cannot be written: {reason}") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


async def _write(
    clients: ClientManager, file: IO[bytes], version: str
) -> Manifest:
    names = await clients.database().list_collection_names()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        members = [
            await _write_member(clients, archive, name)
            for name in _ordered(set(names) - _VOLATILE)
        ]
        manifest = Manifest(
            FORMAT,
            version,
            datetime.now(UTC).isoformat(timespec="seconds"),
            len(STEPS),
            tuple(members),
        )
        archive.writestr(_MANIFEST, json.dumps(asdict(manifest), indent=1))
    return manifest


def _ordered(names: set[str]) -> list[str]:
    rank = {name: n - len(_FIRST) for n, name in enumerate(_FIRST)}
    rank |= {name: n + 1 for n, name in enumerate(_LAST)}
    ours = [name for name in names if not name.startswith("system.")]
    return sorted(ours, key=lambda name: (rank.get(name, 0), name))


async def _write_member(
    clients: ClientManager, archive: zipfile.ZipFile, name: str
) -> Member:
    digest, count = hashlib.sha256(), 0
    raw = clients.database()[name].with_options(codec_options=_RAW)
    with archive.open(f"{name}.bson", "w", force_zip64=True) as member:
        async for document in _all_of(raw):
            digest.update(document.raw)
            member.write(document.raw)
            count += 1
    return Member(name, count, digest.hexdigest())


async def _all_of(
    collection: AsyncCollection[RawBSONDocument],
) -> AsyncIterator[RawBSONDocument]:
    """Read a collection in pages; the ids of one are of one kind."""
    where: dict[str, Any] = {}
    while True:

        async def page() -> list[RawBSONDocument]:
            cursor = collection.find(where).sort("_id", 1)  # noqa: B023 - awaited at once
            return await cursor.limit(_PAGE).to_list()

        found = await retrying(page)
        for document in found:
            yield document
        if len(found) < _PAGE:
            return
        where = {"_id": {"$gt": found[-1]["_id"]}}


def check_dump(path: Path) -> Manifest:
    """Check that a file is whole; return what it says of itself.

    Raises:
        DumpError: it is not, or of a later version.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = _manifest_of(archive)
            for member in manifest.members:
                _check_member(archive, member)
    except FileNotFoundError:
        raise DumpError(f"There is no file {path}") from None
    except (
        OSError,
        zipfile.BadZipFile,
        KeyError,
        TypeError,
        ValueError,
    ) as error:
        raise DumpError(f"{path} is not a whole backup: {error}") from None
    return manifest


def _manifest_of(archive: zipfile.ZipFile) -> Manifest:
    fields = json.loads(archive.read(_MANIFEST))
    if fields["format"] != FORMAT or fields["schema_steps"] > len(STEPS):
        raise DumpError(
            f"The backup was made by version {fields['version']}, which is "
            "later than this one; restore it with that version"
        )
    members = tuple(Member(**each) for each in fields.pop("members"))
    return Manifest(members=members, **fields)


def _check_member(archive: zipfile.ZipFile, member: Member) -> None:
    digest = hashlib.sha256()
    with archive.open(member.file) as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    if digest.hexdigest() != member.sha256:
        raise ValueError(f"{member.collection} is not as it was written")


async def restore_dump(
    clients: ClientManager, path: Path, *, replace: bool = False
) -> Manifest:
    """Store a file's documents, and bring them to this version's schema.

    `replace` removes first what the database has.

    Raises:
        DumpError: the file is not whole, or the database not empty.
        StoreError: the database is away.
    """
    manifest = check_dump(path)
    await _make_empty(clients, replace=replace)
    with zipfile.ZipFile(path) as archive:
        for member in manifest.members:
            await _restore_member(clients, archive, member)
    await migrate(clients)
    return manifest


async def _make_empty(clients: ClientManager, *, replace: bool) -> None:
    database = clients.database()
    for name in await database.list_collection_names():
        if name.startswith("system."):
            continue
        if not replace and name not in _VOLATILE:
            if await database[name].find_one({}) is not None:
                raise DumpError(
                    "The database is not empty; --replace removes what it has"
                )
            continue
        if replace:
            await database[name].drop()
    # The steps of the schema are made again, also on an empty database:
    # some of them change documents.
    await database["schema_steps"].delete_many({})


async def _restore_member(
    clients: ClientManager, archive: zipfile.ZipFile, member: Member
) -> None:
    collection = clients.database()[member.collection]
    try:
        with archive.open(member.file) as file:
            for block in _blocks(file):
                await collection.insert_many(block, ordered=False)
    except BSONError as error:
        raise DumpError(
            f"{member.collection} cannot be read: {error}"
        ) from None


def _blocks(file: IO[bytes]) -> Iterator[list[Any]]:
    block: list[Any] = []
    size = 0
    for document in bson.decode_file_iter(file, _RAW):
        block.append(document)
        size += len(document.raw)
        if len(block) >= _PAGE or size >= _MOST_BYTES_AT_ONCE:
            yield block
            block, size = [], 0
    if block:
        yield block
