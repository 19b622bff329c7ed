"""The scores of an evaluation's items, some hundreds a document.

A block has the scores of some items with one prompt and one model. It is
written once they are all there: a block that is stored is final, and is
not worked on again after a restart.
"""

import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from pydantic import TypeAdapter

from api.core.errors import RuleError
from api.models.base import ApiModel
from api.models.evaluation_models import Evaluation, ItemResult
from api.models.metrics import ProcessingMetrics
from api.services.shared.paging import Page, PageRequest
from utilities import payload
from utilities.cosmos_connector import Document, Documents, ObjectId

_MOST_DIGITS = 9


class StoredResult(ItemResult):
    """An item's result with what is summed up at the end."""

    metrics: ProcessingMetrics | None = None
    judge_metrics: ProcessingMetrics | None = None


class ResultBlock(ApiModel):
    """What is known of a block without reading its results."""

    cell: int
    block: int
    count: int
    errors: int
    # A digest of the prompt's text and the model.
    named: str | None = None


_RESULTS = TypeAdapter(list[StoredResult])


class ResultStore:
    """Keeps and finds the blocks."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def add(
        self,
        evaluation: Evaluation,
        cell: int,
        block: int,
        results: Sequence[StoredResult],
        named: str | None = None,
    ) -> None:
        """Store a block; one that is there stays as it is."""
        text = _RESULTS.dump_json(
            list(results), by_alias=True, exclude_defaults=True
        )
        document = {
            "_id": _id_of(evaluation.evaluation_id, cell, block),
            "clientId": evaluation.client_id,
            "evaluationId": evaluation.evaluation_id,
            "cell": cell,
            "block": block,
            "count": len(results),
            "errors": sum(each.error is not None for each in results),
            "named": named,
            "results": text.decode(),
        }
        await self._documents.insert_many([document])

    async def blocks(self, evaluation_id: str) -> list[ResultBlock]:
        """Return what blocks there are."""
        found = await self._documents.find(
            {"evaluationId": evaluation_id},
            fields=list(ResultBlock.model_fields),
        )
        return [ResultBlock.model_validate(_known(each)) for each in found]

    async def results(
        self, evaluation: Evaluation, cell: int
    ) -> AsyncIterator[Sequence[StoredResult]]:
        """Give the results of a cell in the items' order, by blocks."""
        where = {"evaluationId": evaluation.evaluation_id, "cell": cell}
        blocks = await self._documents.find(where, fields=["block"])
        for number in sorted(each["block"] for each in blocks):
            yield await self._read(evaluation.evaluation_id, cell, number)

    async def page(
        self, evaluation: Evaluation, cell: int, page: PageRequest
    ) -> Page[ItemResult]:
        """Return some results of a cell, in the items' order.

        Raises:
            RuleError: the cursor is none of this list's.
        """
        known = await self.blocks(evaluation.evaluation_id)
        mine = sorted(
            (each for each in known if each.cell == cell),
            key=lambda each: each.block,
        )
        start = _position(page.cursor)
        items: list[ItemResult] = []
        first = 0
        for each in mine:
            if first + each.count > start and len(items) < page.limit:
                found = await self._read(
                    evaluation.evaluation_id, cell, each.block
                )
                items += found[max(start - first, 0) :]
            first += each.count
        items = items[: page.limit]
        end = start + len(items)
        shown = [ItemResult(**_shown(each)) for each in items]
        return Page(shown, str(end) if items and end < first else None)

    async def erase(self, evaluation_id: str) -> None:
        """Remove an evaluation's results for good."""
        await self._documents.erase({"evaluationId": evaluation_id})

    async def _read(
        self, evaluation_id: str, cell: int, block: int
    ) -> Sequence[StoredResult]:
        where = {"_id": _id_of(evaluation_id, cell, block)}
        document = await self._documents.find_one(where)
        if document is None:
            return []
        return _RESULTS.validate_python(payload.load(document["results"]))


def _id_of(evaluation_id: str, cell: int, block: int) -> ObjectId:
    text = f"{evaluation_id}/{cell}/{block}"
    return ObjectId(hashlib.sha256(text.encode()).digest()[:12])


def _known(document: Document) -> dict[str, Any]:
    return {name: document.get(name) for name in ResultBlock.model_fields}


def _shown(result: ItemResult) -> dict[str, Any]:
    return {name: getattr(result, name) for name in ItemResult.model_fields}


def _position(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if cursor.isascii() and cursor.isdecimal() and len(cursor) <= _MOST_DIGITS:
        return int(cursor)
    raise RuleError(
        "The cursor is not valid; use the X-Next-Cursor header of the "
        "previous page"
    )
