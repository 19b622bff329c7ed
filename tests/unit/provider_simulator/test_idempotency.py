import asyncio

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from provider_simulator.idempotency import IdempotencyCache
from tests.support.examples import examples

ENTRIES, SECONDS = 4, 10.0
keys = st.sampled_from("abcdefg")


class FailedError(Exception):
    """Work that failed."""


class CacheMachine(RuleBasedStateMachine):
    """The cache beside a plain model of what it must know."""

    @initialize()
    def start(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.now = 0.0
        self.cache: IdempotencyCache[int] = IdempotencyCache(
            lambda: self.now, ENTRIES, SECONDS
        )
        # By key, in order of age: the answer and until when it is good.
        self.kept: dict[str, tuple[int, float]] = {}
        self.running: dict[str, asyncio.Future[int]] = {}
        self.callers: dict[str, list[asyncio.Task[int]]] = {}
        self.answers = 0

    def teardown(self) -> None:
        for future in self.running.values():
            future.set_result(0)
        self._settle()
        self.loop.close()

    @rule(key=keys)
    def call(self, key: str) -> None:
        future: asyncio.Future[int] = self.loop.create_future()

        async def work() -> int:
            self.running[key] = future
            return await future

        async def get() -> int:
            return await self.cache.get(key, work)

        was_running = key in self.running
        known = was_running or self._fresh(key)
        assert self.loop.run_until_complete(self._knows(key)) is known
        task = self.loop.create_task(get())
        self._settle()
        if known and not was_running:
            assert task.result() == self.kept[key][0]
        else:
            assert (self.running[key] is future) is not was_running
            self.callers.setdefault(key, []).append(task)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.running)))
        self.answers += 1
        self.running.pop(key).set_result(self.answers)
        self._settle()
        for task in self.callers.pop(key, []):
            assert task.result() == self.answers
        self.kept.pop(key, None)
        self.kept[key] = (self.answers, self.now + SECONDS)
        while len(self.kept) > ENTRIES:
            del self.kept[next(iter(self.kept))]

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.running)))
        self.running.pop(key).set_exception(FailedError())
        self._settle()
        for task in self.callers.pop(key, []):
            assert isinstance(task.exception(), FailedError)
        assert not self.loop.run_until_complete(self._knows(key))

    @precondition(lambda self: self.callers)
    @rule(data=st.data())
    def hang_up(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.callers)))
        self.callers[key].pop(0).cancel()
        if not self.callers[key]:
            del self.callers[key]
        self._settle()
        assert not self.running[key].done()

    @rule(seconds=st.sampled_from([1.0, SECONDS - 1, SECONDS]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def bounded(self) -> None:
        if hasattr(self, "cache"):
            assert len(self.cache) <= ENTRIES

    async def _knows(self, key: str) -> bool:
        return self.cache.knows(key)

    def _fresh(self, key: str) -> bool:
        if key in self.kept and self.kept[key][1] <= self.now:
            del self.kept[key]
        return key in self.kept

    def _settle(self) -> None:
        for _ in range(5):
            self.loop.run_until_complete(asyncio.sleep(0))


TestCache = CacheMachine.TestCase
TestCache.settings = settings(max_examples=examples(60))


async def test_fewer_entries_forget_the_oldest() -> None:
    cache: IdempotencyCache[int] = IdempotencyCache(lambda: 0.0, 3, 10)

    async def work() -> int:
        return 1

    for key in "abc":
        await cache.get(key, work)
    cache.configure(1, 10)
    assert [cache.knows(key) for key in "abc"] == [False, False, True]


async def test_no_entries_still_share_what_runs() -> None:
    cache: IdempotencyCache[object] = IdempotencyCache(lambda: 0.0, 0, 10)
    go = asyncio.Event()

    async def work() -> object:
        await go.wait()
        return object()

    calls = [asyncio.create_task(cache.get("k", work)) for _ in range(2)]
    await asyncio.sleep(0)
    go.set()
    first, second = await asyncio.gather(*calls)
    assert first is second
    assert not cache.knows("k")


async def test_a_failure_nobody_heard_of_is_no_noise() -> None:
    cache: IdempotencyCache[int] = IdempotencyCache(lambda: 0.0, 1, 10)
    noise: list[object] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: noise.append(context)
    )

    async def work() -> int:
        await asyncio.sleep(0)
        raise FailedError

    call = asyncio.create_task(cache.get("k", work))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    for _ in range(5):
        await asyncio.sleep(0)
    assert noise == []
