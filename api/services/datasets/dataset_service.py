"""Datasets: rules and ownership."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Sequence

from api.core.errors import RuleError
from api.models.dataset_models import (
    Dataset,
    DatasetCreate,
    DatasetItem,
    DatasetItemInput,
    SplitFractions,
    SplitName,
)
from api.services.datasets import blocks
from api.services.datasets.blocks import BlockIndex, BlockWriter
from api.services.datasets.job_items import JobItems
from api.services.datasets.split import Split, split
from api.services.shared.audit_trail import note_made
from api.services.shared.caller import Caller
from api.services.shared.paging import Page, PageRequest, fetch_page
from api.services.shared.repository import REVISION, Repository
from utilities.cosmos_connector import Documents, ObjectId
from utilities.slices import blocks as slices_of

# The items of one page, in bytes of JSON.
_PAGE_BYTES = 16 * 1024 * 1024
_DEFAULT_FRACTIONS = SplitFractions()
_SLICE = 500
_MOST_DIGITS = 9


class DatasetService:
    """What clients and the administrator do with datasets."""

    def __init__(
        self,
        documents: Documents,
        items: Documents,
        job_items: JobItems,
        most_bytes: int,
    ) -> None:
        self._documents = documents
        self._items = items
        self._job_items = job_items
        self._most_bytes = most_bytes
        self._datasets = Repository(documents, Dataset, "Dataset")

    async def create(self, request: DatasetCreate, caller: Caller) -> Dataset:
        """Store a dataset of the given items, or of finished jobs.

        Raises:
            RuleError: an id is used twice, or there are no such jobs.
        """
        client_id = caller.require_client()
        if request.items is not None:
            items = _each_of(request.items)
        else:
            assert request.from_jobs is not None  # noqa: S101 - as checked
            items = self._job_items.of(request.from_jobs, client_id)
        return await self.add(request.name, items, caller)

    async def add(
        self,
        name: str,
        items: AsyncIterable[DatasetItemInput],
        caller: Caller,
    ) -> Dataset:
        """Store a dataset; it exists once all its items are stored.

        Raises:
            RuleError: there are none, too many, or an id is used twice.
        """
        client_id, dataset_id = caller.require_client(), ObjectId()
        writer = BlockWriter(
            self._items, str(dataset_id), client_id, self._most_bytes
        )
        try:
            await _write(items, writer)
            document = await self._documents.insert(
                {
                    "_id": dataset_id,
                    REVISION: 0,
                    "clientId": client_id,
                    "name": name,
                    "count": writer.count,
                    "expectedCount": writer.expected_count,
                    "size": writer.size,
                    "blocks": writer.blocks,
                }
            )
        except BaseException:
            await self._erase_items(str(dataset_id))
            raise
        note_made("Dataset", document)
        return Dataset.from_document(document)

    async def page(
        self, caller: Caller, name: str | None, page: PageRequest
    ) -> Page[Dataset]:
        """List datasets in order of their creation."""
        where = dict(caller.own)
        if name is not None:
            where["name"] = name
        return await fetch_page(
            self._documents, where, page, Dataset.from_document
        )

    async def get(self, dataset_id: str, caller: Caller) -> Dataset:
        """Return one.

        Raises:
            NotFoundError: there is none, or it is another client's.
        """
        return await self._datasets.get(dataset_id, caller.own)

    async def delete(self, dataset_id: str, caller: Caller) -> None:
        """Delete a dataset and, for good, its items."""
        await self._datasets.remove(dataset_id, caller.own)
        await self._erase_items(dataset_id)

    async def page_of_items(
        self,
        dataset: Dataset,
        positions: Sequence[int],
        page: PageRequest,
    ) -> Page[DatasetItem]:
        """Give items in their order; a page ends early if it is large.

        `positions` are ascending: all, or those of one side of a split.

        Raises:
            RuleError: the cursor is none of these items'.
        """
        start = _start_of(page.cursor, len(positions))
        index = await self.index(dataset)
        wanted = positions[start : start + page.limit]
        items: list[DatasetItem] = []
        size = 0
        for block in slices_of(wanted, _SLICE):
            found = await self.items_at(dataset, index, block)
            items += found
            size += sum(len(str(each.request_data)) for each in found)
            if size > _PAGE_BYTES:
                break
        end = start + len(items)
        return Page(items, str(end) if end < len(positions) else None)

    async def load(self, dataset: Dataset) -> list[DatasetItem]:
        """Return all items, in their order.

        Raises:
            NotFoundError: it has been deleted.
        """
        return [item async for item in self.each(dataset)]

    async def each(self, dataset: Dataset) -> AsyncIterator[DatasetItem]:
        """Give all items, with one block of them in memory at a time.

        Raises:
            NotFoundError: it has been deleted.
        """
        async for block in blocks.read_blocks(self._items, dataset):
            for item in block:
                yield item

    async def index(self, dataset: Dataset) -> BlockIndex:
        """Return what splits and partial reads need.

        Raises:
            NotFoundError: it has been deleted.
        """
        return await blocks.read_index(self._items, dataset)

    async def split(
        self,
        dataset: Dataset,
        seed: int,
        fractions: SplitFractions = _DEFAULT_FRACTIONS,
    ) -> Split:
        """Split the positions of its items; see `split.split`.

        Raises:
            NotFoundError: it has been deleted.
        """
        index = await self.index(dataset)
        # Up to a second for 100,000 items.
        return await asyncio.to_thread(split, index.digests, seed, fractions)

    async def positions(
        self,
        dataset: Dataset,
        side: SplitName,
        seed: int,
        fractions: SplitFractions = _DEFAULT_FRACTIONS,
    ) -> Sequence[int]:
        """Return the ascending positions of one side, or of all items.

        Raises:
            NotFoundError: it has been deleted.
        """
        if side is SplitName.ALL:
            return range(dataset.count)
        return (await self.split(dataset, seed, fractions)).of(side)

    async def items_at(
        self, dataset: Dataset, index: BlockIndex, positions: Sequence[int]
    ) -> list[DatasetItem]:
        """Return the items at some ascending positions.

        Raises:
            NotFoundError: it has been deleted.
        """
        found: list[DatasetItem] = []
        for number, wanted in index.blocks_of(positions).items():
            first, items = await blocks.read_block(
                self._items, dataset, number
            )
            found += [items[position - first] for position in wanted]
        return found

    async def _erase_items(self, dataset_id: str) -> None:
        await self._items.erase({"datasetId": dataset_id})


async def _write(
    items: AsyncIterable[DatasetItemInput], writer: BlockWriter
) -> None:
    async for item in items:
        await writer.add(item)
    await writer.flush()
    if not writer.count:
        raise RuleError("There are no items")


async def _each_of(
    items: Sequence[DatasetItemInput],
) -> AsyncIterator[DatasetItemInput]:
    for item in items:
        yield item


def _start_of(cursor: str | None, count: int) -> int:
    if cursor is None:
        return 0
    if cursor.isascii() and cursor.isdecimal() and len(cursor) <= _MOST_DIGITS:
        return min(int(cursor), count)
    raise RuleError(
        "The cursor is not valid; use the X-Next-Cursor header of the "
        "previous page"
    )
