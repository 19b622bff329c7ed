"""A dataset's items as they are stored: some hundreds a document."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from api.core.errors import NotFoundError, RuleError
from api.models.dataset_models import (
    ITEMS_LIMIT,
    Dataset,
    DatasetItem,
    DatasetItemInput,
)
from api.services.datasets.split import DIGEST_BYTES, content_digest
from utilities import payload
from utilities.cosmos_connector import Document, Documents, ObjectId

ITEMS_OF_A_BLOCK = 500
# BSON ends at 16 MiB a document.
_BYTES_OF_A_BLOCK = 4 * 1024 * 1024
_GONE = "Dataset"


@dataclass(frozen=True, slots=True)
class BlockIndex:
    """Where a dataset's items are, and the digests of their contents.

    `firsts` has the position of each block's first item.
    """

    firsts: tuple[int, ...]
    digests: tuple[bytes, ...]

    def blocks_of(
        self, positions: Iterable[int]
    ) -> Mapping[int, Sequence[int]]:
        """Group ascending positions by the numbers of their blocks."""
        found: dict[int, list[int]] = {}
        number = 0
        for position in positions:
            while (
                number + 1 < len(self.firsts)
                and self.firsts[number + 1] <= position
            ):
                number += 1
            found.setdefault(number, []).append(position)
        return found


@dataclass
class BlockWriter:
    """Stores items in blocks while they come in."""

    documents: Documents
    dataset_id: str
    client_id: str
    most_bytes: int
    count: int = 0
    expected_count: int = 0
    size: int = 0
    blocks: int = 0
    _ids: set[str] = field(default_factory=set)
    _texts: list[str] = field(default_factory=list)
    _digests: list[bytes] = field(default_factory=list)
    _bytes: int = 0

    async def add(self, item: DatasetItemInput) -> None:
        """Take one item.

        Raises:
            RuleError: its id is not unique, or there are too many items.
        """
        self._check(item)
        text = payload.dump(
            [self._id_of(item), item.request_data, item.expected],
            max_depth=payload.MAX_DEPTH + 1,
        )
        self._texts.append(text)
        self._digests.append(content_digest(item.request_data))
        self.count += 1
        self.expected_count += item.expected is not None
        size = len(text.encode())
        self.size += size
        self._bytes += size
        if self.size > self.most_bytes:
            raise RuleError(
                f"The items are more than {self.most_bytes} bytes in all"
            )
        if (
            len(self._texts) >= ITEMS_OF_A_BLOCK
            or self._bytes >= _BYTES_OF_A_BLOCK
        ):
            await self.flush()

    def _check(self, item: DatasetItemInput) -> None:
        if self.count >= ITEMS_LIMIT:
            raise RuleError(f"A dataset has at most {ITEMS_LIMIT} items")
        own_id = self._id_of(item)
        if own_id in self._ids:
            raise RuleError(
                f"item {self.count + 1}: the id {own_id!r} is used twice"
            )
        self._ids.add(own_id)

    def _id_of(self, item: DatasetItemInput) -> str:
        return item.id if item.id is not None else str(self.count + 1)

    async def flush(self) -> None:
        """Store what has been taken."""
        if not self._texts:
            return
        await self.documents.insert(
            {
                "_id": ObjectId(),
                "clientId": self.client_id,
                "datasetId": self.dataset_id,
                "number": self.blocks,
                "first": self.count - len(self._texts),
                "items": f"[{','.join(self._texts)}]",
                "digests": b"".join(self._digests).hex(),
            }
        )
        self.blocks += 1
        self._texts, self._digests, self._bytes = [], [], 0


async def read_block(
    documents: Documents, dataset: Dataset, number: int
) -> tuple[int, list[DatasetItem]]:
    """Return the position of a block's first item, and its items.

    Raises:
        NotFoundError: the dataset has been deleted.
    """
    where = {"datasetId": dataset.dataset_id, "number": number}
    document = await documents.find_one(where)
    if document is None:
        raise NotFoundError(_GONE)
    return document["first"], _items(document)


async def read_index(documents: Documents, dataset: Dataset) -> BlockIndex:
    """Return where the items are.

    Raises:
        NotFoundError: the dataset has been deleted.
    """
    found = await documents.find(
        {"datasetId": dataset.dataset_id},
        sort=[("number", 1)],
        fields=["first", "digests"],
    )
    digests = [each for block in found for each in _digests(block["digests"])]
    if len(digests) != dataset.count:
        raise NotFoundError(_GONE)
    firsts = tuple(block["first"] for block in found)
    return BlockIndex(firsts, tuple(digests))


async def read_blocks(
    documents: Documents, dataset: Dataset
) -> AsyncIterator[Sequence[DatasetItem]]:
    """Read all items, block by block.

    Raises:
        NotFoundError: the dataset has been deleted.
    """
    for number in range(dataset.blocks):
        _, items = await read_block(documents, dataset, number)
        yield items


def _items(document: Document) -> list[DatasetItem]:
    rows: list[list[Any]] = payload.load(document["items"])
    return [
        DatasetItem(id=own_id, request_data=request_data, expected=expected)
        for own_id, request_data, expected in rows
    ]


def _digests(text: str) -> list[bytes]:
    raw = bytes.fromhex(text)
    return [
        raw[start : start + DIGEST_BYTES]
        for start in range(0, len(raw), DIGEST_BYTES)
    ]
