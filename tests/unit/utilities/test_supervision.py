import asyncio
from collections.abc import Callable, MutableMapping
from typing import Any

import pytest

from tests.support.samples import becomes, logged
from utilities import supervision as module
from utilities.supervision import (
    PartError,
    PartState,
    RestartTimes,
    SupervisedGroup,
)
from utilities.tasks import Loop

Events = list[MutableMapping[str, Any]]

QUICK = RestartTimes(first=0.001, longest=0.004, settled=0.5)


class Part(Loop):
    """Fails as often as told, then runs on."""

    name = "part"

    def __init__(
        self, *failures: Exception | None, name: str = "part"
    ) -> None:
        super().__init__()
        self.name = name
        self.failures = list(failures)
        self.starts = 0
        self.cleaned_up = False

    async def run(self) -> None:
        self.attach()
        self.starts += 1
        if self.failures:
            error = self.failures.pop(0)
            if error is not None:
                raise error
            return
        try:
            while not self.stopping:
                await self.pause(60)
        finally:
            await asyncio.sleep(0.01)
            self.cleaned_up = True


@pytest.fixture(autouse=True)
def events(monkeypatch: pytest.MonkeyPatch) -> Events:
    return logged(monkeypatch, module)


@pytest.fixture
def group() -> SupervisedGroup:
    return SupervisedGroup(QUICK, clock=lambda: 7)


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (RuntimeError("a secret"), "unexpected RuntimeError"),
        (None, "it ended without a request to stop"),
        (PartError("DATA_DIR is full"), "DATA_DIR is full"),
    ],
)
async def test_a_part_that_ends_is_logged_once_shown_and_started_again(
    group: SupervisedGroup,
    events: Events,
    failure: Exception | None,
    reason: str,
) -> None:
    part = Part(failure, failure, failure)
    async with group.running(part):
        await becomes(lambda: part.starts >= 2)
        assert group.states() == {"part": PartState(7, reason)}
        await becomes(lambda: part.starts == 4)
        await becomes(lambda: group.states()["part"].error is None)
    told = [event["event"] for event in events]
    assert told == ["part_ended", "part_restored"]
    assert events[0]["reason"] == reason
    assert events[0]["part"] == "part"


async def test_another_reason_is_logged_as_well(
    group: SupervisedGroup, events: Events
) -> None:
    part = Part(PartError("one"), PartError("two"), PartError("two"))
    async with group.running(part):
        await becomes(lambda: part.starts == 4)
    assert [event["reason"] for event in events] == ["one", "two"]


async def test_the_pause_grows_and_starts_afresh_once_the_part_has_settled(
    monkeypatch: pytest.MonkeyPatch, group: SupervisedGroup
) -> None:
    slept: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        if seconds < 0.01:
            slept.append(seconds)
        await sleep(seconds)

    monkeypatch.setattr(asyncio, "sleep", note)
    part = Part(*(PartError("no") for _ in range(4)))
    async with group.running(part):
        while part.starts < 5 or group.states()["part"].error:
            await sleep(0.001)
        part.failures = [PartError("again")]
        part.failures.append(PartError("again"))
        # Ends the run that goes on, as a defect would.
        part.stopping = True
        part.wake()
        await _until(lambda: part.starts == 6, sleep)
        part.stopping = False
    assert slept[:4] == [0.001, 0.002, 0.004, 0.004]
    assert slept[4] == 0.001


async def _until(check: Callable[[], object], sleep: Any) -> None:
    async with asyncio.timeout(10):
        while not check():
            await sleep(0.001)


async def test_one_part_that_fails_leaves_the_others_alone(
    group: SupervisedGroup,
) -> None:
    well, ill = Part(name="well"), Part(*[RuntimeError()] * 50, name="ill")
    async with group.running(well, ill):
        await becomes(lambda: ill.starts >= 3)
        assert well.starts == 1
        assert group.states()["well"].error is None
        assert group.states()["ill"].error is not None


async def test_every_part_cleans_up_at_the_end(
    group: SupervisedGroup,
) -> None:
    parts = [Part(name="a"), Part(name="b")]
    async with group.running(*parts):
        await becomes(lambda: all(part.starts for part in parts))
    assert all(part.cleaned_up for part in parts)


async def test_a_part_that_waits_for_its_restart_ends_at_once() -> None:
    group = SupervisedGroup(RestartTimes(first=600))
    part = Part(PartError("no"))
    async with asyncio.timeout(5), group.running(part):
        await becomes(lambda: group.states()["part"].error == "no")


async def test_what_a_part_says_of_itself_is_shown(
    group: SupervisedGroup,
) -> None:
    part = Part()
    async with group.running(part):
        await becomes(lambda: part.starts)
        part.complaint = "no disk"
        assert group.states()["part"].error == "no disk"
        part.complaint = None
        assert group.states()["part"].error is None


async def test_a_round_that_does_not_end_is_shown(
    group: SupervisedGroup,
) -> None:
    class Stuck(Part):
        async def run(self) -> None:
            self.attach()
            await asyncio.Event().wait()

    part = Stuck()
    part.stalls_after = 0.01
    async with group.running(part):
        await becomes(lambda: group.states()["part"].error)
        assert "stalled" in (group.states()["part"].error or "")
