"""The parts behind `/metrics`, one by one."""

import asyncio
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from pymongo.errors import AutoReconnect

from api.models.metrics import Metrics
from api.services.monitoring.collectors import MOST_SHOWN, QueueCollector
from api.services.monitoring.instruments import Instruments
from api.services.monitoring.labels import OTHER, FirstCome, short
from api.services.monitoring.observed_queue import ObservedJobQueue
from api.services.monitoring.observer import NOBODY, Observer
from api.services.monitoring.queue_state import JobCounts, Kept
from api.services.queue.job_work import Failed, Requeued, Succeeded
from tests.support.metrics import Scrape
from tests.support.samples import claimed_job

DONE = Succeeded("{}", Metrics())


class Timer:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def scraped(registry: CollectorRegistry) -> Scrape:
    return Scrape(generate_latest(registry).decode())


def test_the_first_values_keep_their_labels() -> None:
    labels = FirstCome(2)
    assert [labels.label(x) for x in "abcab"] == ["a", "b", OTHER, "a", "b"]
    assert labels.label("a", "elsewhere") == OTHER


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ("gpt-4o", "gpt-4o"),
        ("a\nb\x1b[0m", "a b [0m"),
        ("\u202e", " "),
        ("x" * 80, "x" * 80),
        ("x" * 81, "x" * 79 + "…"),
    ],
)
def test_labels_are_short_and_printable(value: str, label: str) -> None:
    assert short(value) == label


class Question:
    """Something that the database is asked, slowly if wanted."""

    def __init__(self, timer: Timer) -> None:
        self.asked = 0
        self.takes = 0.0
        self.fails = False
        self.gate = asyncio.Event()
        self.gate.set()
        self._timer = timer

    async def __call__(self) -> int:
        self.asked += 1
        await self.gate.wait()
        self._timer.now += self.takes
        if self.fails:
            raise AutoReconnect
        return self.asked


async def test_an_answer_is_kept_for_some_seconds() -> None:
    timer = Timer()
    question = Question(timer)
    kept = Kept(question, 5, timer)
    assert (kept.value, kept.age) == (None, None)
    for step, asked in ((0, 1), (4.9, 1), (0.1, 2), (5, 3)):
        timer.now += step
        await kept.look(1)
        assert question.asked == kept.value == asked
    timer.now += 3
    assert kept.age == 3


async def test_a_question_that_takes_long_is_asked_seldom() -> None:
    timer = Timer()
    question = Question(timer)
    question.takes = 2
    kept = Kept(question, 5, timer)
    await kept.look(1)
    timer.now += 39
    await kept.look(1)
    assert question.asked == 1
    timer.now += 1
    await kept.look(1)
    assert question.asked == 2


async def test_nobody_waits_long_and_one_question_serves_all() -> None:
    question = Question(Timer())
    question.gate.clear()
    kept = Kept(question, 5, Timer())
    await asyncio.gather(*(kept.look(0.01) for _ in range(5)))
    assert kept.value is None
    question.gate.set()
    await kept.look(1)
    assert question.asked == kept.value == 1


async def test_what_was_known_stays_while_the_database_is_away() -> None:
    timer = Timer()
    question = Question(timer)
    kept = Kept(question, 5, timer)
    await kept.look(1)
    question.fails = True
    timer.now += 60
    await kept.look(1)
    assert (question.asked, kept.value, kept.age) == (2, 1, 60)


async def test_the_models_with_most_to_do_are_shown_others_added_up() -> None:
    count = MOST_SHOWN + 10
    waiting = {("PENDING", f"m{n}"): n + 1 for n in range(count)}
    done = {("PROCESSED", "m0"): 10**6}

    async def active() -> JobCounts:
        oldest = {f"m{n}": 1000 * n for n in range(count)}
        return JobCounts(by_model=waiting, oldest=oldest)

    async def ended() -> JobCounts:
        return JobCounts(by_model=done)

    kept = Kept(active, 5), Kept(ended, 5)
    for each in kept:
        await each.look(1)
    registry = CollectorRegistry()
    registry.register(QueueCollector(*kept, clock=lambda: 100_000))
    page = scraped(registry)
    name = "metasync_jobs"
    shown = page.values(name, "model")
    assert shown == {f"m{n}" for n in range(10, count)} | {OTHER}
    others = {"model": OTHER, "status": "PENDING"}
    assert page.total(name, **others) == sum(range(1, 11))
    assert page.total(name, model=OTHER, status="PROCESSED") == 10**6
    oldest = "metasync_oldest_waiting_job_seconds"
    assert page.total(oldest, model=OTHER) == 100
    assert page.total(oldest, model="m20") == 80


class TestInstruments:
    def test_jobs_that_run_again_are_told_by_their_reason(self) -> None:
        registry = CollectorRegistry()
        seen = Instruments(registry)
        job = claimed_job(operation="o", failures=2)
        for failures in (None, 2, 3):
            back = Requeued(0, counted=False, reason="x", failures=failures)
            seen.job_ended(job, back)
        page = scraped(registry)
        name = "metasync_jobs_put_back_total"
        assert page.total(name, reason="deferred") == 2
        assert page.total(name, reason="failure") == 1
        assert page.total("metasync_jobs_finished_total") == 0

    def test_ended_jobs_are_told_by_their_outcome(self) -> None:
        registry = CollectorRegistry()
        seen = Instruments(registry, clock=lambda: 10_000)
        job = claimed_job(operation="o", started_at=4_000)
        seen.job_ended(job, DONE)
        seen.job_ended(job, Failed({}))
        page = scraped(registry)
        name = "metasync_jobs_finished_total"
        assert page.total(name, outcome="processed") == 1
        assert page.total(name, outcome="error") == 1
        assert page.total("metasync_job_turnaround_seconds_sum") == 12

    def test_a_method_of_the_callers_own_is_no_label(self) -> None:
        registry = CollectorRegistry()
        seen = Instruments(registry)
        for n in range(100):
            seen.request_ended(f"X{n}", "none", 404, 0.1)
        name = "metasync_http_requests_total"
        assert scraped(registry).values(name, "method") == {OTHER}


class Told(Observer):
    def __init__(self) -> None:
        self.words: list[tuple[Any, ...]] = []

    def stored(self, taken: int, not_taken: int, seconds: float) -> None:
        assert seconds >= 0
        self.words.append(("stored", taken, not_taken))

    def store_failed(self, operation: str) -> None:
        self.words.append(("failed", operation))


class Away:
    """A collection whose server is gone."""

    async def _fails(self, *_: Any, **__: Any) -> Any:
        raise AutoReconnect

    find = patch = update_each = _fails


async def test_a_queue_tells_what_the_database_did_not_take() -> None:
    told, away = Told(), Away()
    queue = ObservedJobQueue(
        away,  # type: ignore[arg-type]
        told,
        lease_seconds=30,
        max_attempts=3,
    )
    with pytest.raises(AutoReconnect):
        await queue.extend_leases(["token"])
    with pytest.raises(AutoReconnect):
        await queue.store([])
    assert told.words == [("failed", "extend"), ("failed", "store")]


def test_nobody_forgets_everything() -> None:
    NOBODY.claimed(1, 0.1)
    NOBODY.stored(1, 0, 0.1)
    NOBODY.job_ended(claimed_job(), DONE)
    NOBODY.taken_over(1, 1)
    NOBODY.request_began()
    NOBODY.request_ended("GET", "/", 200, 0.1)
