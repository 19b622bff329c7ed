"""Lists in pages: a limit and an opaque cursor.

A page starts after the last document of the one before, in the order of
an index, so that it costs the same at any depth and new documents neither
repeat nor hide old ones. A page ends at its limit, or earlier where its
documents are large: then the cursor of the next page is there as well.
"""

import base64
import binascii
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

import structlog
from pydantic_core import from_json, to_json

from api.core.errors import RuleError
from api.models.base import StoredModel
from utilities.cosmos_connector import Document, Documents, Filter, ObjectId
from utilities.slices import in_slices

# Clients that name no limit expect the whole list.
DEFAULT_LIMIT = 1000
MAX_LIMIT = 10_000
# The approximate size of a page, as its texts and values count.
PAGE_BYTES = 16 * 1024 * 1024
# How many documents are read at once: few as long as their size is not
# known, and never more than can be decoded without blocking the loop.
_FIRST_BLOCK, _GROWTH, _LARGEST_BLOCK = 16, 8, 500
# What a value that is no text counts.
_VALUE_BYTES = 8
_SMALL = (int, float, bool, type(None), ObjectId)

# Of 64 bits, as the store has them.
_FIRST_TOO_LARGE = 2**63

T = TypeVar("T")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PageRequest:
    """What a client asked for: how many, and after which cursor."""

    limit: int = DEFAULT_LIMIT
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items, and the cursor of the next page if there may be one."""

    items: Sequence[T]
    next_cursor: str | None = None


async def fetch_page(
    documents: Documents,
    where: Filter,
    request: PageRequest,
    read: Callable[[Document], T],
    *,
    order: str = "_id",
    fields: Sequence[str] | None = None,
    newest_first: bool = False,
) -> Page[T]:
    """Read one page in the order of the field `order`, then of `_id`.

    Of that field, `where` may have a range only, and no `$or` if it is
    not `_id`.
    `fields` are those that `read` needs; None means all.
    """
    wanted = None if fields is None else [*fields, order]
    reader = _Reader(documents, where, order, wanted, newest_first)
    found = await reader.read(request)
    more = len(found) > request.limit or reader.is_cut
    shown = found[: request.limit]
    items = await read_all(read, shown)
    return Page(items, _encode(shown[-1], order) if more else None)


async def fetch_ids(
    documents: Documents,
    where: Filter,
    ids: Sequence[ObjectId],
    read: Callable[[Document], T],
    fields: Sequence[str],
) -> list[T]:
    """Read the documents with these ids, or as many as a page can hold."""
    reader = _ReaderOfIds(documents, where, "_id", fields, False, ids=ids)
    return await read_all(read, await reader.read(PageRequest(len(ids))))


async def read_all(
    read: Callable[[Document], T], documents: Sequence[Document]
) -> list[T]:
    """Read documents, without those that cannot be read.

    One that is broken, by a fault of an earlier version or by hand, is
    logged; it must not take the others of its list with it.
    """
    broken = object()

    def attempt(document: Document) -> T | object:
        try:
            return read(document)
        # What pydantic raises is a ValueError.
        except (ValueError, TypeError, KeyError) as error:
            log.error(  # noqa: TRY400 - the traceback would show its content
                "document_unreadable",
                documentId=str(document["_id"]),
                error=type(error).__name__,
            )
            return broken

    items = await in_slices(attempt, documents)
    return [cast("T", item) for item in items if item is not broken]


def fields_of(kind: type[StoredModel]) -> list[str]:
    """Return the fields of the documents that a list of `kind` answers."""
    names = {str(each.alias) for each in kind.model_fields.values()}
    return sorted(names - {kind.id_field})


@dataclass
class _Reader:
    """Reads a page's documents in blocks, and stops when it is full."""

    documents: Documents
    where: Filter
    order: str
    fields: Sequence[str] | None
    newest_first: bool
    # Whether there may be more documents than were read.
    is_cut: bool = False
    _bytes: int = 0
    _found: list[Document] = field(default_factory=list)

    async def read(self, request: PageRequest) -> list[Document]:
        """Read at most one document more than the page's limit."""
        after, wanted, size = request.cursor, request.limit + 1, _FIRST_BLOCK
        while len(self._found) < wanted:
            limit = min(size, wanted - len(self._found))
            block = await self._block(after, limit)
            await self._take(block)
            if self.is_cut or len(block) < limit:
                break
            after = _encode(block[-1], self.order)
            size = self._next_size(size)
        return self._found

    async def _block(self, after: str | None, limit: int) -> list[Document]:
        direction = -1 if self.newest_first else 1
        names = dict.fromkeys([self.order, "_id"])
        return await self.documents.find(
            _after(self.where, after, self.order, self.newest_first),
            sort=[(name, direction) for name in names],
            limit=limit,
            fields=self.fields,
        )

    async def _take(self, block: Sequence[Document]) -> None:
        sizes = await in_slices(_size, block)
        for document, size in zip(block, sizes, strict=True):
            # A page has at least one document, however large.
            if self._found and self._bytes + size > PAGE_BYTES:
                self.is_cut = True
                return
            self._found.append(document)
            self._bytes += size

    def _next_size(self, size: int) -> int:
        """Choose how many come next, by what those before have weighed."""
        average = self._bytes // len(self._found) + 1
        fitting = (PAGE_BYTES - self._bytes) // average + 1
        return min(size * _GROWTH, fitting, _LARGEST_BLOCK)


@dataclass
class _ReaderOfIds(_Reader):
    """Reads documents by their ids, block by block."""

    ids: Sequence[ObjectId] = ()
    _asked: int = 0

    async def _block(self, after: str | None, limit: int) -> list[Document]:
        del after  # told by `_asked`
        block = self.ids[self._asked : self._asked + limit]
        self._asked += len(block)
        if not block:
            return []
        return await self.documents.find(
            {**self.where, "_id": {"$in": list(block)}}, fields=self.fields
        )


def _size(value: object) -> int:
    """Count about how many bytes a value takes; not exact, but cheap."""
    children: Iterable[object]
    if isinstance(value, dict):
        size, children = sum(map(len, value)), value.values()
    elif isinstance(value, list):
        size, children = 0, value
    else:
        return len(value) if isinstance(value, str | bytes) else _VALUE_BYTES
    for child in children:
        # Most are text or a number: no call for each of them.
        kind = type(child)
        if kind is str:
            size += len(child)
        elif kind in _SMALL:
            size += _VALUE_BYTES
        else:
            size += _size(child)
    return size


def _after(
    where: Filter,
    cursor: str | None,
    order: str,
    newest_first: bool = False,  # noqa: FBT001, FBT002 - private
) -> Filter:
    if cursor is None:
        return where
    value, last_id = _decode(cursor, order)
    beyond = "$lt" if newest_first else "$gt"
    if order == "_id":
        return {**where, "_id": {beyond: last_id}}
    # The first condition is what an index can begin with.
    later = [{order: {beyond: value}}, {"_id": {beyond: last_id}}]
    # The cursor lies within the range that `where` may have.
    rest = {**where.get(order, {}), f"{beyond}e": value}
    return {**where, order: rest, "$or": later}


def _encode(document: Document, order: str) -> str:
    value = None if order == "_id" else document[order]
    raw = to_json([value, str(document["_id"])])
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _decode(cursor: str, order: str) -> tuple[Any, ObjectId]:
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        value, last_id = from_json(raw)
        if not (_fits(value, order) and ObjectId.is_valid(last_id)):
            raise ValueError  # noqa: TRY301 - one answer to every bad cursor
        return value, ObjectId(last_id)
    except (ValueError, TypeError, binascii.Error):
        raise RuleError(
            "The cursor is not valid; use the X-Next-Cursor header of the "
            "previous page"
        ) from None


def _fits(value: object, order: str) -> bool:
    if order == "_id":
        return value is None
    return type(value) is int and abs(value) < _FIRST_TOO_LARGE
