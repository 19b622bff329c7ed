"""A client's requests a minute, over several processes."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from api.services.limits.request_limits import (
    BLOCKS,
    MINUTE_MS,
    RequestCounts,
    RequestLimits,
    RequestQuota,
)
from tests.support.store import Store, Time
from utilities.cosmos_connector import Documents


class CountedAdds(RequestCounts):
    adds = 0

    async def add(self, client_id: str, minute: int, requests: int) -> int:
        self.adds += 1
        return await super().add(client_id, minute, requests)


class Bench:
    def __init__(self, store: Store) -> None:
        documents = Documents(store.application.clients, "request_counts")
        self.raw = documents.raw
        self.counts = CountedAdds(documents)
        self.time = Time()

    def process(self, default: int = 0) -> RequestLimits:
        return RequestLimits(self.counts, default, self.time)


@pytest.fixture
async def bench(store: Store) -> AsyncIterator[Bench]:
    bench = Bench(store)
    yield bench
    await bench.raw.delete_many({})


async def taken(
    limits: RequestLimits, count: int, own: int | None = None
) -> list[RequestQuota]:
    asked = (limits.take("c", own) for _ in range(count))
    found = await asyncio.gather(*asked)
    return [each for each in found if each and each.is_granted]


async def test_no_more_get_through_than_the_limit_in_all_processes(
    bench: Bench,
) -> None:
    processes = [bench.process(100) for _ in range(4)]
    found = await asyncio.gather(*(taken(each, 60) for each in processes))
    assert sum(map(len, found)) == 100
    # One question for each block, and one that finds nothing left.
    assert bench.counts.adds <= BLOCKS + len(processes)
    refused = await processes[0].take("c", None)
    assert refused is not None
    assert not refused.is_granted
    assert refused.remaining == 0
    assert bench.counts.adds <= BLOCKS + len(processes)


async def test_the_next_minute_begins_anew(bench: Bench) -> None:
    limits = bench.process(10)
    bench.time.now = 100 * MINUTE_MS + 59_500
    assert len(await taken(limits, 20)) == 10
    refused = await limits.take("c", None)
    assert refused is not None
    assert refused.reset_seconds == 1
    bench.time.now += 500
    assert len(await taken(limits, 20)) == 10
    for _ in range(3):
        bench.time.now += MINUTE_MS
        await taken(limits, 1)
    kept = await bench.raw.find({}).to_list()
    assert len(kept) == 2


async def test_what_is_left_is_told(bench: Bench) -> None:
    limits = bench.process(40)
    found = [await limits.take("c", None) for _ in range(40)]
    assert [each.remaining for each in found if each] == [*range(39, -1, -1)]


@pytest.mark.parametrize(
    ("default", "own", "granted"),
    [(0, None, None), (5, 0, None), (5, None, 5), (5, 7, 7), (0, 3, 3)],
)
async def test_a_clients_own_limit_wins(
    bench: Bench, default: int, own: int | None, granted: int | None
) -> None:
    limits = bench.process(default)
    if granted is None:
        assert await limits.take("c", own) is None
        assert bench.counts.adds == 0
    else:
        assert len(await taken(limits, 20, own)) == granted


async def test_a_changed_limit_counts_at_once(bench: Bench) -> None:
    limits = bench.process(5)
    assert len(await taken(limits, 20)) == 5
    assert len(await taken(limits, 20, 8)) == 3
    assert await taken(limits, 20, 8) == []
