import asyncio
from typing import cast

import pytest

from api.core.errors import NotFoundError
from api.services.calls.catalog import KEEP_SECONDS, Catalog
from api.services.models.model_service import ModelService
from api.services.prompts.prompt_service import PromptService


class _Models:
    """Answers when told to, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.answering = asyncio.Event()
        self.answering.set()
        self.error: Exception | None = None

    async def find(self, reference: str) -> str:
        self.asked += 1
        await self.answering.wait()
        if self.error is not None:
            raise self.error
        return f"{reference} {self.asked}"


class _Rig:
    def __init__(self) -> None:
        self.now = 0.0
        self.models = _Models()
        self.catalog = Catalog(
            cast("ModelService", self.models),
            cast("PromptService", None),
            clock=lambda: self.now,
        )

    async def get(self) -> object:
        return await self.catalog.model("m")


async def test_what_was_read_is_kept_for_a_moment() -> None:
    rig = _Rig()
    assert await rig.get() == await rig.get() == "m 1"
    rig.now = KEEP_SECONDS
    assert await rig.get() == "m 2"


async def test_many_at_once_are_one_read() -> None:
    rig = _Rig()
    rig.models.answering.clear()
    tasks = [asyncio.ensure_future(rig.get()) for _ in range(100)]
    await asyncio.sleep(0)
    rig.models.answering.set()
    assert await asyncio.gather(*tasks) == ["m 1"] * 100


async def test_who_is_cancelled_takes_no_read_from_the_others() -> None:
    rig = _Rig()
    rig.models.answering.clear()
    first, second = (asyncio.ensure_future(rig.get()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    rig.models.answering.set()
    assert await second == "m 1"
    assert first.cancelled()


async def test_an_error_reaches_all_that_wait_and_is_not_kept() -> None:
    rig = _Rig()
    rig.models.error = NotFoundError("Model")
    answers = await asyncio.gather(
        rig.get(), rig.get(), return_exceptions=True
    )
    assert [type(each) for each in answers] == [NotFoundError] * 2
    rig.models.error = None
    assert await rig.get() == "m 2"


async def test_an_error_that_nobody_waited_for_is_not_kept() -> None:
    rig = _Rig()
    rig.models.error = NotFoundError("Model")
    rig.models.answering.clear()
    task = asyncio.ensure_future(rig.get())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    rig.models.answering.set()
    for _ in range(3):
        await asyncio.sleep(0)
    rig.models.error = None
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await rig.get() == "m 2"
