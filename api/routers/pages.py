"""`limit` and `cursor` of every list."""

from collections.abc import Sequence
from typing import Annotated, TypeVar

from fastapi import Depends, Query, Response

from api.services.shared.paging import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    Page,
    PageRequest,
)

NEXT_CURSOR = "X-Next-Cursor"

T = TypeVar("T")


def page_request(
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = DEFAULT_LIMIT,
    cursor: Annotated[
        str | None,
        Query(
            max_length=512,
            description=f"The `{NEXT_CURSOR}` header of the page before.",
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
