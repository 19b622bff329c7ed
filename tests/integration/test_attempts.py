"""What is kept of tries that gave no answer, and what they cannot undo."""

from typing import Any

from api.models.cost import UNITS
from api.models.job_models import Job
from api.models.job_status import JobStatus
from api.models.job_update_models import JobUpdate
from api.models.metrics import Metrics
from api.services.queue.job_outcomes import Result
from api.services.queue.job_queue import JobQueue
from api.services.queue.job_work import Claimant, ClaimedJob, Failed, Requeued
from api.services.queue.job_work import Succeeded as Answer
from api.services.shared.caller import Caller
from tests.support.store import Store
from utilities.cosmos_connector import Documents
from utilities.signals import Signals, jobs_waiting

ADMIN = Caller(is_admin=True)
BUSY = "the provider is busy"


async def job_of(store: Store, job_id: str) -> Job:
    return await store.application.services.jobs.get(job_id, store.client)


async def requeued(store: Store, job: ClaimedJob, **fields: Any) -> int:
    how: dict[str, Any] = {"counted": False, "reason": BUSY, **fields}
    back = Requeued(store.time.now, **how)
    return await store.queue.store([Result(job, back)])


async def die(store: Store) -> tuple[int, int]:
    store.time.now += 31_000
    return await store.queue.return_expired()


async def change(store: Store, job_id: str, **fields: Any) -> Job:
    jobs = store.application.services.jobs
    return await jobs.update(job_id, JobUpdate(**fields), store.client)


def told(job: Job) -> list[tuple[str, int, str, int]]:
    return [
        (each.kind.value, each.attempt, each.worker_id, each.times)
        for each in job.attempt_history or ()
    ]


async def test_every_try_without_an_answer_leaves_a_record(
    store: Store,
) -> None:
    (job_id,) = await store.submit()
    (job,) = await store.claim(claimant=Claimant("p", "a"))
    await requeued(store, job, counted=True)
    await store.claim(claimant=Claimant("p", "b"))
    await die(store)
    await store.claim(claimant=Claimant("dead", "c"))
    # The third was the last.
    assert await store.queue.return_of_process("dead") == (0, 1)
    after = await job_of(store, job_id)
    assert told(after) == [
        ("REQUEUED", 1, "a", 1),
        ("LEASE_EXPIRED", 2, "b", 1),
        ("PROCESS_DIED", 3, "c", 1),
    ]
    assert after.attempt_history is not None
    assert after.attempt_history[0].reason == BUSY
    assert after.status is JobStatus.ERROR_PROCESSING
    assert after.error_data is not None
    kinds = [each["kind"] for each in after.error_data["attemptHistory"]]
    assert kinds == ["REQUEUED", "LEASE_EXPIRED", "PROCESS_DIED"]


async def test_a_failure_at_the_last_attempt_tells_the_earlier_ones(
    store: Store,
) -> None:
    (job_id,) = await store.submit()
    for _ in range(2):
        await store.claim()
        await die(store)
    (job,) = await store.claim()
    failed = Failed({"errorType": "TIMEOUT", "message": "No answer"})
    assert await store.queue.store([Result(job, failed)]) == 1
    after = await job_of(store, job_id)
    assert after.error_data is not None
    last = after.error_data["attemptHistory"][-1]
    assert (last["kind"], last["reason"]) == ("FAILED", "TIMEOUT: No answer")
    assert len(after.error_data["attemptHistory"]) == 3


async def test_like_tries_in_a_row_are_one_record(store: Store) -> None:
    (job_id,) = await store.submit()
    await store.claim()
    await die(store)
    for _ in range(30):
        (job,) = await store.claim()
        await requeued(store, job)
    assert told(await job_of(store, job_id)) == [
        ("LEASE_EXPIRED", 1, "worker", 1),
        ("REQUEUED", 2, "worker", 30),
    ]


async def test_the_latest_twenty_are_kept(store: Store) -> None:
    (job_id,) = await store.submit()
    for number in range(25):
        (job,) = await store.claim()
        await requeued(store, job, reason=f"{number} " + "x" * 1000)
    history = (await job_of(store, job_id)).attempt_history or []
    assert [each.reason.split()[0] for each in history] == [
        str(number) for number in range(5, 25)
    ]
    assert {len(each.reason) for each in history} == {500}


async def test_a_heartbeat_between_look_and_write_saves_the_lease(
    store: Store,
) -> None:
    await store.submit(2)
    first, second = await store.claim()
    store.time.now += 31_000
    found = await store.queue._documents.find({"_id": first.job_id})
    found += await store.queue._documents.find({"_id": second.job_id})
    # One token for the block: both are extended.
    await store.queue.extend_leases([first.lease_token])
    left, _ = store.queue._by_attempts_left(found)
    kind: Any = "LEASE_EXPIRED"
    assert await store.queue._free(left, kind) == 0
    assert await store.statuses() == {"PROCESSING": 2}


async def test_a_job_that_was_given_up_is_not_put_back(store: Store) -> None:
    (job_id,) = await store.submit()
    for _ in range(3):
        (job,) = await store.claim()
        await die(store)
    for counted in (True, False):
        assert await requeued(store, job, counted=counted) == 0
    after = await job_of(store, job_id)
    assert (after.status, after.attempts) == (JobStatus.ERROR_PROCESSING, 3)
    # An answer is another thing: it was paid for.
    late = [Result(job, Answer('"late"', Metrics()))]
    assert await store.queue.store(late) == 1
    assert (await job_of(store, job_id)).response_data == "late"


async def test_a_job_that_was_changed_is_not_answered_as_it_was(
    store: Store,
) -> None:
    (job_id,) = await store.submit()
    (job,) = await store.claim()
    await die(store)
    await change(store, job_id, request_data={"n": "other"})
    late = [Result(job, Answer('"to the first"', Metrics()))]
    assert await store.queue.store(late) == 0
    assert await store.statuses() == {"PENDING": 1}


async def test_a_changed_job_starts_anew(store: Store) -> None:
    """What was paid for belongs to the request as it was."""
    (job_id,) = await store.submit()
    (job,) = await store.claim()
    paid = Answer('"to the first"', Metrics())
    await requeued(store, job, checkpoint=paid)
    await change(store, job_id, client_reference={"a": 1})
    (again,) = await store.claim()
    assert again.checkpoint == paid
    assert again.started_at == job.started_at
    await requeued(store, again, checkpoint=paid)
    await change(store, job_id, request_data={"n": "other"})
    (other,) = await store.claim()
    assert other.checkpoint is None
    assert other.started_at > job.started_at


async def test_a_second_life_shows_no_result_of_the_first(
    store: Store,
) -> None:
    (job_id,) = await store.submit()
    (job,) = await store.claim()
    answer = Answer('"first"', Metrics(), '{"s":1}', "f" * 24)
    await store.queue.store([Result(job, answer)])
    await change(store, job_id, status=JobStatus.CANCELED)
    again = JobUpdate(status=JobStatus.PENDING)
    jobs = store.application.services.jobs
    fresh = await jobs.update(job_id, again, ADMIN)
    assert fresh.response_data is None
    assert fresh.eval_result is None
    assert fresh.suggested_prompt_id is None
    assert fresh.attempt_history is None
    assert fresh.finished_at is None
    canceled = await change(store, job_id, status=JobStatus.CANCELED)
    assert canceled.finished_at is None


COSTS = Metrics(
    10,
    5,
    0.5,
    input_units=UNITS,
    output_units=2 * UNITS,
    currencies=frozenset({"EUR"}),
)
PAID = Answer('{"paid":1}', COSTS)


async def test_a_worker_that_stops_at_once_keeps_what_was_paid_for(
    store: Store,
) -> None:
    await store.submit()
    (job,) = await store.claim()
    await requeued(store, job, checkpoint=PAID)
    (job,) = await store.claim()
    assert job.checkpoint == PAID
    # It never came to the job.
    await requeued(store, job)
    (job,) = await store.claim()
    assert job.checkpoint == PAID


async def test_a_job_that_is_given_up_shows_what_was_paid_for(
    store: Store,
) -> None:
    (job_id,) = await store.submit()
    (job,) = await store.claim()
    await requeued(store, job, checkpoint=PAID, counted=True)
    for _ in range(2):
        await store.claim()
        await die(store)
    after = await job_of(store, job_id)
    assert after.status is JobStatus.ERROR_PROCESSING
    assert after.error_data is not None
    assert after.error_data["failedResponseData"] == '{"paid":1}'
    assert after.processing_metrics is not None
    assert after.processing_metrics.total_cost == 3.0


async def test_what_an_earlier_life_has_cost_is_added(store: Store) -> None:
    (job_id,) = await store.submit()
    (job,) = await store.claim()
    await store.queue.store([Result(job, PAID)])
    await change(store, job_id, status=JobStatus.CANCELED)
    jobs = store.application.services.jobs
    await jobs.update(job_id, JobUpdate(status=JobStatus.PENDING), ADMIN)
    (job,) = await store.claim()
    await store.queue.store([Result(job, PAID)])
    after = await job_of(store, job_id)
    assert after.processing_metrics is not None
    assert after.processing_metrics.total_cost == 6.0


async def test_idle_workers_hear_of_jobs_that_wait_again(store: Store) -> None:
    heard: list[int] = []
    signals = Signals()
    topic = jobs_waiting(str(store.client.client_id))
    signals.subscribe(topic, lambda: heard.append(len(heard)))
    queue = JobQueue(
        Documents(store.application.clients, "jobs"),
        lease_seconds=30,
        max_attempts=3,
        signals=signals,
        clock=store.time,
    )
    await store.submit()
    (job,) = await store.claim()
    later = Requeued(store.time.now + 1, counted=False, reason=BUSY)
    await queue.store([Result(job, later)])
    assert len(heard) == 0
    store.time.now += 1
    (job,) = await store.claim()
    now = Requeued(store.time.now, counted=False, reason="stopped")
    await queue.store([Result(job, now)])
    assert len(heard) == 1
    await store.claim()
    store.time.now += 31_000
    assert await queue.return_expired() == (1, 0)
    assert len(heard) == 2
