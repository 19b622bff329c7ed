"""The chart of streams: the newest points, from few fields."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from api.models.stream_models import StreamStatus
from api.services.shared.date_range import TimeRange
from api.services.streams import stream_service
from tests.support.store import Store, open_store
from utilities import payload
from utilities.cosmos_connector import Document, Documents, ObjectId


@pytest.fixture
async def store(database: str, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(database, tmp_path) as store:
        yield store


def completed(store: Store, number: int) -> Document:
    group = {
        "model": f"m{number % 2}",
        "clientReference": {"n": number},
        "promptIds": ["p"],
    }
    return {
        "_id": ObjectId(),
        "clientId": store.client.client_id,
        "model": group["model"],
        "status": StreamStatus.COMPLETED,
        "startedAt": 1_000 * number,
        "requestData": "large",
        "responseData": "large",
        "groupKey": payload.dump(group),
        "processingMetrics": {"inputTokens": number, "totalDuration": 0.5},
    }


async def test_the_points_are_the_newest_in_order_of_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_service, "MOST_DATA_POINTS", 25)
    streams = store.application.services.streams
    await streams._documents.insert_many(
        [completed(store, number) for number in range(1, 41)]
    )
    read: list[Document] = []
    find = Documents.find

    async def recorded(
        self: Documents, *args: Any, **options: Any
    ) -> Sequence[Document]:
        found = await find(self, *args, **options)
        read.extend(found)
        return found

    monkeypatch.setattr(Documents, "find", recorded)
    chart = await streams.analytics(store.client, TimeRange())
    tokens = [p.processing_metrics.input_tokens for p in chart.data_points]
    assert tokens == list(range(16, 41))
    last = chart.data_points[-1]
    assert (last.model, last.client_reference) == ("m0", {"n": 40})
    assert (last.prompt_ids, last.timestamp.timestamp()) == (["p"], 40.0)
    assert last.processing_metrics.total_duration == 0.5
    assert chart.total_count == 40
    assert len(chart.groups) == 40
    # No record was read as a whole.
    assert not any("requestData" in document for document in read)
