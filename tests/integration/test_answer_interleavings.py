"""Equal questions in any order of events: no two are asked at once."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.models.metrics import Metrics
from api.services.calls.catalog import Catalog
from api.services.jobs.answer_memory import AnswerMemory
from api.services.queue.flights import FLIGHTS, Boarded, Flights
from api.services.queue.job_outcomes import Result
from api.services.queue.job_queue import JobQueue
from api.services.queue.job_work import ClaimedJob, Failed, Succeeded
from llm_workers.execution.remembering import Remembering
from tests.support.examples import examples
from tests.support.store import IN_MEMORY, Store, open_store
from utilities.cosmos_connector import Documents

JOBS, KEYS = 4, 2


class World:
    """Workers that claim jobs one by one; some die in the middle."""

    def __init__(self, store: Store) -> None:
        def documents(name: str) -> Documents:
            return Documents(store.application.clients, name)

        services = store.application.services
        flights = Flights(documents(FLIGHTS), documents("jobs"), store.time)
        self.store = store
        self.queue = JobQueue(
            documents("jobs"),
            lease_seconds=30,
            max_attempts=100,
            clock=store.time,
            flights=flights,
        )
        self.remembering = Remembering(
            AnswerMemory(documents("jobs")),
            flights,
            Catalog(services.models, services.prompts),
            store.time,
        )
        self.calling: list[ClaimedJob] = []
        self.answered: set[str | None] = set()

    async def claim(self) -> None:
        # `Store.claim` has a queue of its own, of the same jobs.
        jobs = await self.store.claim(1)
        found = await self.remembering.sort(jobs)
        for job in found.asking:
            # What was answered is never asked again, and nothing twice.
            assert job.answer_key not in self.answered
            assert job.answer_key not in {j.answer_key for j in self.calling}
        self.calling += found.asking
        if found.results:
            await self.queue.store(found.results)

    async def end(self, number: int, *, well: bool) -> None:
        if not self.calling:
            return
        job = self.calling.pop(number % len(self.calling))
        outcome = Succeeded("{}", Metrics()) if well else Failed({})
        await self.queue.store([Result(job, outcome)])
        if well:
            self.answered.add(job.answer_key)

    async def die(self, number: int) -> None:
        """Kill the worker of one call; the others go on."""
        if self.calling:
            self.calling.pop(number % len(self.calling))
        await self.wait(31_000)
        await self.queue.return_expired()

    async def wait(self, ms: int) -> None:
        tokens = [job.lease_token for job in self.calling]
        for _ in range(ms // 10_000 + 1):
            self.store.time.now += 10_000
            if tokens:
                await self.queue.extend_leases(tokens)

    async def drain(self) -> None:
        """Let everything end that can."""
        for _ in range(10 * JOBS):
            await self.claim()
            await self.end(0, well=True)
            await self.wait(10_000)


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["claim", "claim", "answer", "fail", "die", "wait"]),
        st.integers(0, 3),
    ),
    max_size=25,
)


@settings(max_examples=examples(60), deadline=None)
@given(_STEPS)
def test_nothing_is_asked_twice(steps: list[tuple[str, int]]) -> None:
    async def run(directory: Path) -> None:
        async with open_store(IN_MEMORY, directory) as store:
            await _run(store, steps)

    with TemporaryDirectory() as directory:
        asyncio.run(run(Path(directory)))


async def _run(store: Store, steps: list[tuple[str, int]]) -> None:
    world = World(store)
    for _ in range(JOBS // KEYS):
        await store.submit(KEYS, cache="use")
    for step, number in steps:
        match step:
            case "claim":
                await world.claim()
            case "die":
                await world.die(number)
            case "wait":
                await world.wait(10_000)
            case _:
                await world.end(number, well=step == "answer")
    await world.drain()
    statuses = await store.statuses()
    assert statuses.keys() <= {"PROCESSED", "ERROR_PROCESSING"}
    assert sum(statuses.values()) == JOBS


async def test_without_flights_the_same_is_asked_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: it is the flights that prevent it."""

    async def everybody_asks(_: Flights, jobs: list[ClaimedJob]) -> Boarded:
        return Boarded(jobs, {})

    steps = [("claim", 0)] * JOBS
    async with open_store(IN_MEMORY, tmp_path) as store:
        await _run(store, steps)
    monkeypatch.setattr(Flights, "board", everybody_asks)
    async with open_store(IN_MEMORY, tmp_path) as store:
        with pytest.raises(AssertionError):
            await _run(store, steps)
