"""Lists in the order of arrival, from one thing on, as the vendors page."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from api.core.errors import ParameterError
from utilities.cosmos_connector import Document, Documents, Filter, ObjectId

T = TypeVar("T")
# Two that arrive in the same millisecond differ, too.
_STEPS = 1_000_000
_HEX_DIGITS = 24


@dataclass(frozen=True, slots=True)
class Window:
    """Which part of a list: after, or before, the thing with an id."""

    limit: int
    after: str | None = None
    before: str | None = None
    newest_first: bool = True


@dataclass(frozen=True, slots=True)
class Listed(Generic[T]):
    """A part of a list; `has_more` tells of things beyond it."""

    items: Sequence[T]
    has_more: bool


def new_sequence(now: int) -> int:
    """Give a new thing its place in lists; `now` in ms."""
    return now * _STEPS + secrets.randbelow(_STEPS)


def object_id_of(shown: str, prefix: str) -> ObjectId | None:
    """Read an id as it is shown; None if it cannot be one."""
    text = shown.removeprefix(prefix)
    is_one = shown.startswith(prefix) and len(text) == _HEX_DIGITS
    return ObjectId(text) if is_one and ObjectId.is_valid(text) else None


async def listed(
    documents: Documents,
    where: Filter,
    window: Window,
    prefix: str,
    fields: Sequence[str] | None = None,
) -> Listed[Document]:
    """Read a part of a list; with `fields`, no others of the documents.

    Raises:
        ParameterError: it has no thing with the id that is named.
    """
    backwards = window.before is not None
    descending = window.newest_first != backwards
    query = dict(where)
    shown, name = window.after, "after"
    if window.before is not None:
        shown, name = window.before, "before_id"
    if shown is not None:
        place = await _place(documents, where, shown, prefix, name)
        query["sequence"] = {"$lt" if descending else "$gt": place}
    found = await documents.find(
        query,
        sort=[("sequence", -1 if descending else 1)],
        limit=window.limit + 1,
        fields=fields,
    )
    items = found[: window.limit]
    if backwards:
        items.reverse()
    return Listed(items, len(found) > window.limit)


async def _place(
    documents: Documents, where: Filter, shown: str, prefix: str, name: str
) -> int:
    own_id = object_id_of(shown, prefix)
    found = None
    if own_id is not None:
        found = await documents.find_one({**where, "_id": own_id})
    if found is None:
        raise ParameterError(f"The list has no {shown[:100]!r}", name)
    return int(found["sequence"])
