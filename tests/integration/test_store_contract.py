"""Every query we make, on every server we can have.

The same services and the same queue run against the embedded server and,
where it is at hand, a second, independent one.
"""

import asyncio
import uuid

import pytest

from api.core.errors import ConflictError, RuleError
from api.models.charge import Charge
from api.models.client_models import ClientCreate
from api.models.job_models import JobCreate
from api.models.job_status import JobStatus
from api.models.job_update_models import JobBatchUpdateItem, JobUpdate
from api.models.metrics import Metrics
from api.models.model_models import CostInput, ModelCreate, ModelUpdate
from api.models.prompt_models import PromptStatus, PromptUpdate
from api.models.run_models import Run, RunCreate, RunStatus
from api.models.worker_models import (
    WorkerConfigInput,
    WorkerCreate,
    WorkerStatus,
)
from api.services.jobs.batch_change import (
    FIELDS,
    BatchChange,
    PlannedChange,
)
from api.services.jobs.job_filter import JobFilter
from api.services.keeping.retention import Retention
from api.services.keeping.turns import Turns
from api.services.prompts.prompt_service import PromptFilter
from api.services.queue.job_outcomes import Result
from api.services.queue.job_queue import JobQueue
from api.services.queue.job_work import Claimant, Failed, Requeued, Succeeded
from api.services.queue.worker_leases import Slot, WorkerLeases
from api.services.shared.caller import Caller
from api.services.shared.date_range import TimeRange
from api.services.shared.paging import PageRequest
from api.services.webhooks.delivery_store import Attempted
from api.services.webhooks.sender import Answer
from api.services.workers.worker_service import WorkerFilter
from llm_workers.supervisor.snapshot import SnapshotSource
from tests.support.outbox import HOOK, make_parts
from tests.support.store import CONFIG, ME, Store, new_prompt
from utilities.clock import now_ms
from utilities.cosmos_connector import Document, Documents, ObjectId
from utilities.store.schema import migrate

ADMIN = Caller(is_admin=True)
NOTHING = Metrics()
PAGE = PageRequest()


async def test_the_schema_is_made_once(store: Store) -> None:
    await migrate(store.application.clients)


async def test_clients(store: Store) -> None:
    clients = store.application.services.clients
    made = await clients.create(ClientCreate(name="n"))
    await clients.authenticate(made.client_id, made.api_key)
    assert (await clients.toggle(made.client_id)).enabled is False
    assert (await clients.get(made.client_id)).name == "n"
    await clients.rotate_key(made.client_id)
    await clients.delete(made.client_id)
    listed = (await clients.page(PageRequest(limit=1000))).items
    assert made.client_id not in [client.client_id for client in listed]


async def test_models(store: Store) -> None:
    models = store.application.services.models
    found = await models.find(store.model)
    assert (await models.find(found.model_id)).name == store.model
    missing = await models.missing({store.model, found.model_id, "x"})
    assert missing == {"x"}
    other = ModelCreate(
        name=f"o-{uuid.uuid4()}",
        sdk="test",
        max_token=1,
        cost=CostInput(input=1, output=1),
    )
    made = await models.create(other)
    with pytest.raises(RuleError):
        await models.create(other)
    with pytest.raises(RuleError):
        await models.update(made.model_id, ModelUpdate(name=store.model))
    await models.delete(made.model_id)
    await models.create(other)


async def test_prompts(store: Store) -> None:
    prompts = store.application.services.prompts
    second = await prompts.create(new_prompt("p"), store.client)
    assert second.version == "2"
    with pytest.raises(RuleError):
        await prompts.create(new_prompt("p", version="2"), store.client)
    with pytest.raises(RuleError):
        await prompts.update(
            second.prompt_id, PromptUpdate(version="1"), store.client
        )
    public = await prompts.create(
        new_prompt(f"public-{uuid.uuid4()}", is_public=True), ADMIN
    )
    wanted = PromptFilter(status=PromptStatus.PUBLISHED, type="t")
    page = await prompts.page(store.client, wanted, PageRequest(limit=1000))
    ids = {prompt.prompt_id for prompt in page.items}
    assert {store.prompt, second.prompt_id, public.prompt_id} <= ids
    other = "somebody-else"
    ids_of_both = [store.prompt, public.prompt_id]
    assert await prompts.missing(ids_of_both, other) == {store.prompt}
    usable = await prompts.usable(ids_of_both, str(store.client.client_id))
    assert set(usable) == set(ids_of_both)
    await prompts.delete(second.prompt_id, store.client)
    await prompts.create(new_prompt("p", version="2"), store.client)


async def test_pages(store: Store) -> None:
    jobs = store.application.services.jobs
    ids = await store.submit(25)
    seen: list[str] = []
    cursor = None
    while True:
        page = await jobs.page(
            store.client, JobFilter(), PageRequest(10, cursor)
        )
        seen += [job.job_id for job in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == ids


async def test_job_filters(store: Store) -> None:
    jobs = store.application.services.jobs
    (wanted,) = await store.submit(
        operation="w", priority=5, id="own", clientReference={"a": {"b.c": 1}}
    )
    await store.submit(3)
    for filters in (
        JobFilter(job_id=wanted),
        JobFilter(operation="w", status=JobStatus.PENDING),
        JobFilter(priority=5, model=store.model, id="own"),
        JobFilter(reference={"a.b.c": "1"}),
    ):
        page = await jobs.page(store.client, filters, PAGE)
        assert [job.job_id for job in page.items] == [wanted]


async def test_changes_are_compared_and_set(store: Store) -> None:
    jobs = store.application.services.jobs
    first, second = await store.submit(2)
    canceled = JobUpdate(status=JobStatus.CANCELED)
    await jobs.update(first, canceled, store.client)
    assert await store.statuses() == {"PENDING": 1, "CANCELED": 1}
    seen = await as_read(store, second)
    (claimed,) = await store.queue.claim(
        str(store.client.client_id), CONFIG, ME, 1
    )
    assert str(claimed.job_id) == second
    # The worker was quicker than a client that has seen it PENDING.
    change = PlannedChange(seen, {"status": JobStatus.CANCELED})
    with pytest.raises(ConflictError):
        await BatchChange(jobs._documents, [change], now_ms()).write()
    assert await store.statuses() == {"PROCESSING": 1, "CANCELED": 1}


async def test_a_batch_that_loses_a_race_changes_nothing(
    store: Store,
) -> None:
    jobs = store.application.services.jobs
    ids = await store.submit(3, clientReference={"v": "old"})
    planned = [
        PlannedChange(
            await as_read(store, job_id),
            {"priority": 1, "status": JobStatus.CANCELED},
        )
        for job_id in ids
    ]
    await jobs.update(
        ids[1], JobUpdate(status=JobStatus.CANCELED), store.client
    )
    before = await raw_jobs(store, ids)
    with pytest.raises(ConflictError):
        await BatchChange(jobs._documents, planned, now_ms()).write()
    assert await raw_jobs(store, ids) == before
    assert await store.statuses() == {"PENDING": 2, "CANCELED": 1}
    items = [JobBatchUpdateItem(job_id=i, priority=7) for i in ids]
    changed = await jobs.update_batch(items, store.client)
    assert [job.priority for job in changed] == [7] * 3
    await jobs.delete_batch(ids, store.client)
    assert await store.statuses() == {}


async def as_read(store: Store, job_id: str) -> Document:
    """Read a job as a batch does."""
    documents = store.application.services.jobs._documents
    where = {"_id": ObjectId(job_id)}
    (found,) = await documents.find(where, fields=FIELDS)
    return found


async def raw_jobs(store: Store, ids: list[str]) -> list[Document]:
    """Read everything of jobs but the traces that a batch may leave."""
    documents = store.application.services.jobs._documents
    where = {"_id": {"$in": [ObjectId(job_id) for job_id in ids]}}
    traces = {"revision", "batchMark", "batchHeldUntil"}
    # A field that is null is as good as one that is not there.
    return [
        {
            name: value
            for name, value in found.items()
            if name not in traces and value is not None
        }
        | {"_metadata": {**found["_metadata"], "writeId": None}}
        for found in await documents.find(where)
    ]


async def test_a_block_is_claimed_in_order_and_only_once(
    store: Store,
) -> None:
    late = await store.submit(2, priority=500)
    early = await store.submit(2, priority=1)
    first = await store.queue.claim(str(store.client.client_id), CONFIG, ME, 3)
    ids = [str(job.job_id) for job in first]
    assert ids == [*early, late[0]]
    assert {job.attempts for job in first} == {1}
    rest = await store.claim()
    assert len(rest) == 1
    assert await store.claim() == []


async def test_claims_follow_the_workers_filters(store: Store) -> None:
    await store.submit(2)
    (wanted,) = await store.submit(
        operation="w", clientReference={"run": {"id": 7}}
    )
    config = CONFIG.model_copy(
        update={
            "model_filter": store.model,
            "operation_filter": "w",
            "client_reference_filters": {"run": {"id": 7}},
        }
    )
    client_id = str(store.client.client_id)
    claimed = await store.queue.claim(client_id, config, ME, 10)
    assert [str(job.job_id) for job in claimed] == [wanted]


async def test_results_are_stored_under_their_lease_only(
    store: Store,
) -> None:
    await store.submit(3)
    jobs = await store.queue.claim(str(store.client.client_id), CONFIG, ME, 3)
    metrics = Metrics(1, 2, 0.5, 10**9, 2 * 10**9, frozenset({"USD"}))
    outcomes: tuple[Succeeded | Failed | Requeued, ...] = (
        Succeeded('{"a":1}', metrics, '{"s":2}', "f" * 24),
        Failed({"errorType": "X"}, metrics),
        Requeued(store.time.now + 5000, counted=True, reason="r"),
    )
    results = [
        Result(job, outcome)
        for job, outcome in zip(jobs, outcomes, strict=True)
    ]
    assert await store.queue.store(results) == 3
    # Sent twice, it changes nothing.
    assert await store.queue.store(results) == 0
    assert await store.statuses() == {
        "PENDING": 1,
        "PROCESSED": 1,
        "ERROR_PROCESSING": 1,
    }
    page = await store.application.services.jobs.page(
        store.client, JobFilter(status=JobStatus.PROCESSED), PAGE
    )
    (done,) = page.items
    assert (done.response_data, done.eval_result) == ({"a": 1}, {"s": 2})
    assert done.suggested_prompt_id == "f" * 24
    assert await store.claim() == []
    store.time.now += 5000
    (again,) = await store.queue.claim(
        str(store.client.client_id), CONFIG, ME, 3
    )
    assert again.attempts == 2


async def test_a_late_answer_is_taken_until_somebody_else_claims(
    store: Store,
) -> None:
    await store.submit(2)
    client_id = str(store.client.client_id)
    jobs = await store.queue.claim(client_id, CONFIG, ME, 2)
    store.time.now += 31_000
    assert await store.queue.return_expired() == (2, 0)
    late = [Result(job, Succeeded('"late"', Metrics())) for job in jobs]
    assert await store.queue.store(late[:1]) == 1
    (other,) = await store.queue.claim(client_id, CONFIG, ME, 2)
    assert other.attempts == 2
    assert await store.queue.store(late[1:]) == 0
    assert await store.statuses() == {"PROCESSED": 1, "PROCESSING": 1}


async def test_leases_are_kept_by_heartbeats(store: Store) -> None:
    await store.submit(2)
    client_id = str(store.client.client_id)
    (kept,) = await store.queue.claim(client_id, CONFIG, ME, 1)
    (left,) = await store.queue.claim(client_id, CONFIG, ME, 1)
    store.time.now += 20_000
    assert await store.queue.extend_leases([kept.lease_token]) == 1
    store.time.now += 20_000
    assert await store.queue.return_expired() == (1, 0)
    (again,) = await store.queue.claim(client_id, CONFIG, ME, 9)
    assert again.job_id == left.job_id


async def test_a_job_out_of_attempts_ends(store: Store) -> None:
    await store.submit()
    for expected in ((1, 0), (1, 0), (0, 1)):
        assert len(await store.claim()) == 1
        store.time.now += 31_000
        assert await store.queue.return_expired() == expected
    page = await store.application.services.jobs.page(
        store.client, JobFilter(), PAGE
    )
    (job,) = page.items
    assert job.status is JobStatus.ERROR_PROCESSING
    assert job.error_data is not None
    assert job.error_data["errorType"] == "LEASE_EXPIRED"


async def test_a_dead_processs_jobs_return_at_once(store: Store) -> None:
    await store.submit(2)
    client_id = str(store.client.client_id)
    await store.queue.claim(client_id, CONFIG, ME, 1)
    other = Claimant("other", "worker")
    await store.queue.claim(client_id, CONFIG, other, 1)
    assert await store.queue.return_of_process("other") == (1, 0)
    assert await store.statuses() == {"PENDING": 1, "PROCESSING": 1}


async def test_an_idempotent_job_is_made_once(store: Store) -> None:
    jobs = store.application.services.jobs
    request = JobCreate(
        operation="o",
        working_prompts=[store.prompt],
        model=store.model,
        request_data={},
    )
    first = await jobs.create(request, store.client, "key")
    assert await jobs.create(request, store.client, "key") == first
    await jobs.delete(first.job_id, store.client)
    with pytest.raises(ConflictError):
        await jobs.create(request, store.client, "key")


async def test_workers(store: Store) -> None:
    workers = store.application.services.workers
    request = WorkerCreate(
        worker_id="w",
        config=WorkerConfigInput(model_filter="m"),
        group="g",
    )
    made = await workers.create(request, store.client)
    started = await workers.start(made.worker_id, store.client)
    assert started.status is WorkerStatus.RUNNING
    summary = await workers.summary(store.client, WorkerFilter(model="m"))
    assert summary.running_ids == [made.worker_id]
    overview = await workers.overview()
    assert store.client.client_id in [c.client_id for c in overview.clients]
    await workers.stop(made.worker_id, store.client)
    await workers.delete(made.worker_id, store.client)
    assert (await workers.page(store.client, PAGE)).items == []


async def test_pools_hold_a_worker_one_at_a_time(store: Store) -> None:
    application = store.application
    workers = application.services.workers
    request = WorkerCreate(worker_id="w", config=WorkerConfigInput())
    made = await workers.create(request, store.client)
    await workers.start(made.worker_id, store.client)
    leases = WorkerLeases(
        Documents(application.clients, "worker_leases"),
        Documents(application.clients, "worker_pools"),
        store.time,
    )
    source = SnapshotSource(
        application.shared.documents("workers"),
        application.shared.client_states,
    )
    slot = Slot(made.worker_id, 1)
    snapshot = await source.take(leases)
    assert slot in snapshot.waiting
    assert await leases.take(slot, "a", None)
    assert not await leases.take(slot, "b", None)
    store.time.now += 9_000
    await leases.renew("a", 7)
    store.time.now += 9_000
    snapshot = await source.take(leases)
    assert (snapshot.held[slot], snapshot.capacities["a"]) == ("a", 7)
    assert slot not in snapshot.waiting
    assert not await leases.take(slot, "b", snapshot.leases[slot])
    shown = await workers.get(made.worker_id, store.client)
    assert shown.thread_info is not None
    await leases.release([slot], "b")
    store.time.now += 2_000
    snapshot = await source.take(leases)
    assert slot in snapshot.waiting
    assert await leases.take(slot, "b", snapshot.leases[slot])
    assert not await leases.take(slot, "a", snapshot.leases[slot])
    await leases.release_all("b")
    assert await leases.take(slot, "a", snapshot.leases[slot])
    await leases.remove([slot], "a")
    assert slot not in {lease.slot for lease in await leases.all()}


async def test_those_who_claim_at_once_share_the_jobs(store: Store) -> None:
    """Who meets another looks again, and leaves with a full block."""
    await store.submit(60)
    client_id = store.client.client_id
    assert client_id is not None
    blocks = await asyncio.gather(
        *(store.queue.claim(client_id, CONFIG, ME, 10) for _ in range(4))
    )
    ids = [job.job_id for block in blocks for job in block]
    assert len(ids) == len(set(ids))
    assert len(ids) >= 30


@pytest.mark.parametrize(("steps", "is_cancelled"), [(2, True), (99, False)])
async def test_a_run_that_goes_on_meanwhile_is_cancelled_all_the_same(
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    *,
    steps: int,
    is_cancelled: bool,
) -> None:
    runs = store.application.services.runs
    run = await runs.create(
        RunCreate(
            initial_working_prompt_ids=[store.prompt],
            eval_prompt_id=store.prompt,
            eval_model=store.model,
            meta_prompt_id=store.prompt,
            meta_model=store.model,
            working_models=[store.model],
            max_iterations=1,
            request_data={},
        ),
        store.client,
    )
    left, look_at = steps, runs.get

    async def look_and_step(run_id: str, caller: Caller) -> Run:
        nonlocal left
        seen = await look_at(run_id, caller)
        if left > 0:
            left -= 1
            assert await runs.advance(seen, {})
        return seen

    monkeypatch.setattr(runs, "get", look_and_step)
    if is_cancelled:
        cancelled = await runs.cancel(run.run_id, store.client)
        assert cancelled.status is RunStatus.CANCELLED
    else:
        with pytest.raises(ConflictError, match="try again"):
            await runs.cancel(run.run_id, store.client)


async def test_webhooks(store: Store) -> None:
    parts = await make_parts(store)
    await store.submit(2)
    jobs = await store.claim()
    await parts.queue.store(
        [Result(j, Succeeded("{}", NOTHING)) for j in jobs]
    )
    await parts.collect()
    assert await parts.notes() == 0
    assert await parts.deliveries.due({HOOK, "b" * 24}) == {HOOK}
    first = await parts.deliveries.claim(HOOK, 1)
    second = await parts.deliveries.claim(HOOK, 5)
    assert (len(first), len(second)) == (1, 1)
    now = parts.time.now
    await parts.deliveries.record(
        [
            Attempted(first[0], Answer(0.1, 200), now),
            Attempted(second[0], Answer(0.1, 500, error="no"), now),
        ]
    )
    assert await parts.deliveries.claim(HOOK, 5) == []
    await parts.deliveries.hasten(HOOK)
    (again,) = await parts.deliveries.claim(HOOK, 5)
    assert again.delivery.delivery_id == second[0].delivery.delivery_id
    assert again.delivery.attempts == 2


async def test_a_late_answer_to_a_deleted_job_is_charged(
    store: Store,
) -> None:
    """It was paid for, and nobody else makes the call."""
    shared, client_id = store.application.shared, str(store.client.client_id)
    queue = JobQueue(
        shared.documents("jobs"),
        lease_seconds=30,
        max_attempts=3,
        ledger=shared.ledger,
        clock=store.time,
    )
    (job_id,) = await store.submit()
    (late,) = await queue.claim(client_id, CONFIG, ME, 1)
    store.time.now += 31_000
    assert await queue.return_expired() == (1, 0)
    assert len(await queue.claim(client_id, CONFIG, ME, 1)) == 1
    late.bill.add(Charge("m", "", requests=1, output_tokens=7))
    answer = Result(late, Succeeded('"late"', NOTHING))
    assert await queue.store([answer]) == 0
    assert await output_tokens(store) == 0  # negative control: not deleted
    await store.application.services.jobs.delete(job_id, store.client)
    assert await queue.store([answer]) == 0
    assert await output_tokens(store) == 7
    assert await queue.store([answer]) == 0
    assert await output_tokens(store) == 7


async def output_tokens(store: Store) -> int:
    """Return what the ledger has for the client."""
    report = await store.application.services.usage.report(
        store.client, TimeRange(), []
    )
    return report.total.output_tokens


async def test_retention_and_erasure(store: Store) -> None:
    clients, client_id = store.application.clients, store.client.client_id
    await store.submit(3)
    (job, *_) = await store.claim(1)
    await store.queue.store([Result(job, Succeeded("{}", NOTHING))])

    def documents(name: str) -> Documents:
        return Documents(clients, name)

    def in_ten_days() -> int:
        return store.time() + 10 * 24 * 3600 * 1000

    rules = {"jobs": 9.0}
    retention = Retention(documents, clients, rules, clock=in_ten_days)
    assert (await retention.round())["jobs"] >= 1
    assert await store.statuses() == {"PENDING": 2}
    jobs = documents("jobs")
    assert await jobs.erase_some({"clientId": client_id}, 1) == 1
    assert await jobs.erase_some({"clientId": client_id}, 5) == 1
    await clients.give_space_back()
    turns = Turns(documents("turns"), store.time)
    name = str(uuid.uuid4())
    assert await turns.take(name, 1)
    assert not await turns.take(name, 1)
