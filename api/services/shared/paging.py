"""Lists in pages: a limit and an opaque cursor.

A page starts after the last document of the one before, in the order of
an index, so that it costs the same at any depth and new documents neither
repeat nor hide old ones.
"""

import base64
import binascii
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import structlog
from bson import ObjectId
from pydantic_core import from_json, to_json

from api.core.errors import RuleError
from utilities.cosmos_connector import Document, Documents, Filter

# Clients that name no limit are used to the whole list.
DEFAULT_LIMIT = 1000
MAX_LIMIT = 10_000

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
) -> Page[T]:
    """Read one page in the order of the field `order`, then of `_id`.

    `where` must leave that field, and `$or` if it is not `_id`, to us.
    """
    found = await documents.find(
        _after(where, request.cursor, order),
        sort=[(order, 1)] if order == "_id" else [(order, 1), ("_id", 1)],
        limit=request.limit + 1,
    )
    shown = found[: request.limit]
    more = len(found) > request.limit
    return Page(
        list(_readable(shown, read)),
        _encode(shown[-1], order) if more else None,
    )


def _readable(
    documents: Iterable[Document], read: Callable[[Document], T]
) -> Iterable[T]:
    """Read documents; one that is broken is left out of the list."""
    for document in documents:
        try:
            yield read(document)
        except ValueError as error:
            log.warning(
                "stored_document_broken",
                id=str(document.get("_id")),
                error=type(error).__name__,
            )


def _after(where: Filter, cursor: str | None, order: str) -> Filter:
    if cursor is None:
        return where
    value, last_id = _decode(cursor, order)
    if order == "_id":
        return {**where, "_id": {"$gt": last_id}}
    # The first condition is what an index can begin with.
    later = [{order: {"$gt": value}}, {"_id": {"$gt": last_id}}]
    return {**where, order: {"$gte": value}, "$or": later}


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
            "The cursor is not one that this server gave out; take it from "
            "the X-Next-Cursor header of the page before"
        ) from None


def _fits(value: object, order: str) -> bool:
    if order == "_id":
        return value is None
    return type(value) is int and abs(value) < _FIRST_TOO_LARGE
