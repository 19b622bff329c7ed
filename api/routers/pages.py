"""`limit` and `cursor` of every list, and how long lists are written."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, TypeVar

from fastapi import Depends, Query, Response
from pydantic import SerializeAsAny, TypeAdapter

from api.models.base import ApiModel
from api.services.shared.paging import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    Page,
    PageRequest,
)

NEXT_CURSOR = "X-Next-Cursor"

T = TypeVar("T")
_LIST = TypeAdapter(Sequence[SerializeAsAny[ApiModel]])
# Items that are written at a stretch: some milliseconds.
_SLICE = 200


def page_request(
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = DEFAULT_LIMIT,
    cursor: Annotated[
        str | None,
        Query(
            max_length=512,
            description=f"The `{NEXT_CURSOR}` header of the previous page.",
        ),
    ] = None,
) -> PageRequest:
    """Read the query string."""
    return PageRequest(limit, cursor)


PageQuery = Annotated[PageRequest, Depends(page_request)]


def answer(page: Page[T], response: Response) -> Sequence[T]:
    """Give the items as the body and the next page's cursor as a header."""
    if page.next_cursor is not None:
        response.headers[NEXT_CURSOR] = page.next_cursor
    return page.items


async def long_list(
    items: Sequence[ApiModel],
    status: int = 200,
    shown: set[str] | None = None,
) -> Response:
    """Write a list of any length; other requests run in between.

    `shown` names the fields of each item that are written; None: all.
    """
    body = await written(items, shown)
    return Response(body, status, media_type="application/json")


async def written(
    items: Sequence[ApiModel], shown: set[str] | None = None
) -> bytes:
    """Write a list as JSON; other requests run in between."""
    wanted = None if shown is None else {"__all__": shown}
    pieces = []
    for start in range(0, len(items), _SLICE):
        piece = _LIST.dump_json(
            items[start : start + _SLICE], by_alias=True, include=wanted
        )
        # Without its brackets.
        pieces.append(piece[1:-1])
        await asyncio.sleep(0)
    return b"[" + b",".join(pieces) + b"]"
