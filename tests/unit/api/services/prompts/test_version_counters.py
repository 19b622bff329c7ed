"""Versions by a counter: all different, none left out, none searched for."""

import asyncio
import threading
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymongo.errors import AutoReconnect

from api.core.errors import RuleError
from api.models.prompt_models import PromptUpdate
from api.services.prompts.prompt_service import PromptService
from api.services.prompts.version_counters import (
    VersionCounters,
    VersionedName,
)
from api.services.shared.caller import Caller
from tests.support.examples import examples
from tests.support.store import new_prompt
from utilities.cosmos_connector import ClientManager, Documents
from utilities.store.schema import migrate

ME = Caller("me")
NAME = VersionedName("me", "p", "t")


class Bench:
    def __init__(self, database: str) -> None:
        self.clients = ClientManager(database, f"t-{uuid.uuid4().hex[:12]}")
        self.prompts = Documents(self.clients, "prompts")
        counters = Documents(self.clients, "prompt_versions")
        self.counters = VersionCounters(counters, self.prompts)
        self.service = PromptService(self.prompts, self.counters)

    async def add(self, version: str | None = None) -> str:
        request = new_prompt("p", version=version)
        return (await self.service.add(request, "me")).version

    async def id_of(self, version: str) -> str:
        found = await self.prompts.find_one({"version": version})
        assert found is not None
        return str(found["_id"])


@pytest.fixture
async def bench(database: str) -> AsyncIterator[Bench]:
    bench = Bench(database)
    await migrate(bench.clients)
    yield bench
    await bench.clients.close()


async def test_120_meta_steps_at_once_lose_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    searches = inserts = 0
    highest, insert = bench.counters._highest, bench.prompts.insert

    async def count_searches(name: VersionedName) -> int:
        nonlocal searches
        searches += 1
        return await highest(name)

    async def count_inserts(document: Any) -> Any:
        nonlocal inserts
        inserts += 1
        return await insert(document)

    await bench.add()
    monkeypatch.setattr(bench.counters, "_highest", count_searches)
    monkeypatch.setattr(bench.prompts, "insert", count_inserts)
    made = await asyncio.gather(*(bench.add() for _ in range(120)))
    assert sorted(map(int, made)) == list(range(2, 122))
    assert searches == 0
    assert inserts == 120


async def test_a_counter_is_started_once_by_many(bench: Bench) -> None:
    for version in ("4", "7-beta", "007"):
        await bench.add(version)
    made = await asyncio.gather(*(bench.add() for _ in range(40)))
    assert len(set(made)) == 40
    assert min(map(int, made)) == 8


def test_threads_of_workers_share_the_counter(database: str) -> None:
    bench, made = Bench(database), list[str]()

    async def work() -> None:
        versions = await asyncio.gather(*(bench.add() for _ in range(10)))
        made.extend(versions)
        await bench.clients.close()

    async def prepare() -> None:
        await migrate(bench.clients)
        await bench.clients.close()

    asyncio.run(prepare())
    threads = [
        threading.Thread(target=lambda: asyncio.run(work())) for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(int, made)) == list(range(1, 121))


async def test_versions_that_clients_name_raise_the_counter(
    bench: Bench,
) -> None:
    assert await bench.add() == "1"
    await bench.add("9")
    assert await bench.add() == "10"
    with pytest.raises(RuleError):
        await bench.add("10")
    await bench.add("4")
    assert await bench.add() == "11"


async def test_a_deleted_version_is_free_again(bench: Bench) -> None:
    made = [await bench.add() for _ in range(4)]
    await bench.service.delete(await bench.id_of(made[1]), ME)
    assert await bench.add() == "5"
    for version in ("5", "4", "3"):
        await bench.service.delete(await bench.id_of(version), ME)
    assert await bench.add() == "2"


async def test_a_changed_version_moves_the_counter(bench: Bench) -> None:
    await bench.add()
    two = await bench.id_of(await bench.add())
    await bench.service.update(two, PromptUpdate(version="20"), ME)
    assert await bench.add() == "21"
    await bench.service.delete(await bench.id_of("21"), ME)
    await bench.service.update(two, PromptUpdate(version="draft"), ME)
    assert await bench.add() == "2"


async def test_versions_beyond_64_bits_are_found_by_a_search(
    bench: Bench,
) -> None:
    await bench.add()
    await bench.add("9" * 40)
    assert await bench.add() == f"1{'0' * 40}"
    assert await bench.add() == f"1{'0' * 39}1"


async def test_a_number_whose_prompt_was_not_stored_is_used_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.add()

    async def refuse(_: Any) -> Any:
        raise AutoReconnect("away")

    with monkeypatch.context() as away:
        away.setattr(bench.prompts, "insert", refuse)
        with pytest.raises(AutoReconnect):
            await bench.add()
    assert await bench.add() == "2"


async def test_a_counter_that_cannot_be_removed_now_is_removed_later(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.add()

    async def refuse(*_: Any) -> Any:
        raise AutoReconnect("away")

    with monkeypatch.context() as away:
        away.setattr(bench.counters, "_remove", refuse)
        await bench.counters.next(NAME)
        await bench.counters.forget(NAME)
    assert await bench.add() == "2"


STEPS = st.lists(
    st.one_of(
        st.just(("add", None)),
        st.tuples(st.just("add"), st.sampled_from(["1", "3", "6", "x", "02"])),
        st.tuples(st.just("delete"), st.integers(0, 9)),
        st.tuples(st.just("change"), st.sampled_from(["2", "8", "y"])),
    ),
    max_size=12,
)


@given(STEPS)
@settings(max_examples=examples(15))
def test_the_next_version_follows_the_highest_there_is(
    database: str, steps: list[tuple[str, Any]]
) -> None:
    async def play() -> None:
        bench, versions = Bench(database), list[str]()
        await migrate(bench.clients)
        for step, value in steps:
            if step == "add" and value is None:
                numbers = [int(v) for v in versions if v.isdecimal()]
                versions.append(await bench.add())
                assert versions[-1] == str(max(numbers, default=0) + 1)
            elif step == "add" and value not in versions:
                versions.append(await bench.add(value))
            elif step == "delete" and versions:
                gone = versions.pop(value % len(versions))
                await bench.service.delete(await bench.id_of(gone), ME)
            elif step == "change" and versions and value not in versions:
                update = PromptUpdate(version=value)
                last = await bench.id_of(versions.pop())
                versions.append(value)
                await bench.service.update(last, update, ME)
        await bench.clients.close()

    asyncio.run(play())
