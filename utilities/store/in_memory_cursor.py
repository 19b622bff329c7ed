"""The answers of the in-memory store to queries."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from typing import Any, Self

from utilities.store.matching import in_order

Document = dict[str, Any]


class InMemoryCursor:
    """What was found; read when it is asked for."""

    def __init__(
        self,
        read: Callable[[], list[Document]],
        fields: Collection[str] | None = None,
    ) -> None:
        """Take what reads the documents; `fields` None means all."""
        self._read = read
        self._fields = fields
        self._order: Sequence[tuple[str, int]] = ()
        self._limit = 0

    def sort(self, order: Sequence[tuple[str, int]]) -> Self:
        """Set the order, by fields."""
        self._order = order
        return self

    def limit(self, limit: int) -> Self:
        """Set how many there are at most; 0 means all."""
        self._limit = limit
        return self

    def batch_size(self, _size: int) -> Self:
        """Do nothing: there are no messages."""
        return self

    async def to_list(self) -> list[Document]:
        """Return all of them."""
        await asyncio.sleep(0)
        found = in_order(self._read(), self._order)
        found = found[: self._limit or None]
        if self._fields is None:
            return found
        return [_projected(each, self._fields) for each in found]

    async def __aiter__(self) -> AsyncIterator[Document]:
        for document in await self.to_list():
            yield document


def _projected(document: Document, fields: Collection[str]) -> Document:
    return {name: document[name] for name in document if name in fields}
