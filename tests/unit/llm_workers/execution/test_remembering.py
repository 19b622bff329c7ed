"""What becomes of claimed jobs whose answers may be there."""

from collections.abc import Iterable, Sequence
from typing import Any, cast

import pytest
from bson import ObjectId
from pymongo.errors import AutoReconnect

from api.core.errors import NotFoundError
from api.services.calls.catalog import Catalog
from api.services.jobs.answer_memory import AnswerMemory
from api.services.jobs.remembered import Remembered
from api.services.queue.flights import WAITS_FOR_ANSWER, Boarded, Flights
from api.services.queue.job_work import ClaimedJob, Requeued, Succeeded
from llm_workers.execution.remembering import Remembering

NOW = 1_000_000


class Parts:
    """Stands for the memory, the flights and the catalog."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.known: dict[str, Remembered] = {}
        self.free = True
        self.since = NOW
        self.broken = False
        self.remembering = Remembering(
            cast("AnswerMemory", self),
            cast("Flights", self),
            cast("Catalog", self),
            lambda: NOW,
        )

    async def board(self, jobs: Sequence[ClaimedJob]) -> Boarded:
        self.asked.append("flights")
        if self.broken:
            raise AutoReconnect("gone")
        waiting = {} if self.free else {j.job_id: self.since for j in jobs}
        return Boarded(list(jobs) if self.free else [], waiting)

    async def find(self, keys: Iterable[str], _: str) -> dict[str, Remembered]:
        self.asked.append("answers")
        return {key: self.known[key] for key in keys if key in self.known}

    async def model(self, _: str) -> Any:
        raise NotFoundError("Model")


def job(key: str | None = "a" * 64, *, takes: bool = True) -> ClaimedJob:
    return ClaimedJob(
        ObjectId(),
        "c",
        "token",
        1,
        "m",
        (),
        0.0,
        "{}",
        answer_key=key,
        takes_answers=takes,
    )


async def test_plain_jobs_ask_nobody_before_their_calls() -> None:
    parts = Parts()
    jobs = [job(None), job(takes=False)]
    found = await parts.remembering.sort(jobs)
    assert (found.asking, found.results, parts.asked) == (jobs, [], [])


async def test_a_known_answer_needs_no_call() -> None:
    parts, asked = Parts(), job()
    parts.known[str(asked.answer_key)] = Remembered("0" * 24, '{"a":1}', "[]")
    found = await parts.remembering.sort([asked])
    (result,) = found.results
    assert isinstance(result.outcome, Succeeded)
    assert result.outcome.cached_from == "0" * 24
    assert result.outcome.logprobs_json == "[]"
    (charge,) = asked.bill.charges
    assert (charge.model, charge.cached_answers, charge.requests) == (
        "m",
        1,
        0,
    )
    # Who looks first would miss the answer that is stored in between.
    assert parts.asked == ["flights", "answers"]


@pytest.mark.parametrize(
    ("waited", "again"),
    [(0, 250), (4_000, 2_000), (10**7, 10_000)],
    ids=["just begun", "half", "at most"],
)
async def test_who_waits_looks_again(waited: int, again: int) -> None:
    parts, asked = Parts(), job()
    parts.free, parts.since = False, NOW - waited
    found = await parts.remembering.sort([asked, job(None)])
    assert len(found.asking) == 1
    (result,) = found.results
    assert isinstance(result.outcome, Requeued)
    assert result.outcome.available_at == NOW + again
    assert result.outcome.waits_for == WAITS_FOR_ANSWER
    assert not result.outcome.counted


async def test_without_the_store_jobs_go_back() -> None:
    """They are this worker's: lost here, they would wait for their lease."""
    parts, plain = Parts(), job(None)
    parts.broken = True
    found = await parts.remembering.sort([job(), plain, job()])
    assert found.asking == [plain]
    outcomes = [result.outcome for result in found.results]
    assert all(isinstance(each, Requeued) for each in outcomes)
    assert len(outcomes) == 2
