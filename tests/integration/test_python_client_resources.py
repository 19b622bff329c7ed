"""What the Python client has of the interface, on the real service."""

import time
from collections.abc import Iterator
from threading import Thread
from typing import Any

import pytest

from metasync import (
    AsyncMetasync,
    BadRequestError,
    JobFailedError,
    Metasync,
    NotFoundError,
    PermissionDeniedError,
    StreamFailedError,
    WaitTimeoutError,
)
from provider_simulator.running import Simulator
from tests.support.api_user import ApiUser, unique
from tests.support.live_server import ADMIN_KEY
from tests.support.python_client import BOTH, Reader, either, no_threads
from tests.support.waiting import eventually


@pytest.fixture
def reader(user: ApiUser, shared_simulator: Simulator) -> Reader:
    return Reader(user, shared_simulator)


@pytest.fixture(params=BOTH)
def client(
    reader: Reader, request: pytest.FixtureRequest
) -> Iterator[Metasync]:
    with either(request.param, reader, admin_key=ADMIN_KEY) as client:
        yield client


def submit(client: Metasync, reader: Reader, **fields: Any) -> str:
    prompt = client.prompts.ensure("answer", "Answer as JSON.")
    return client.jobs.create(
        operation="test",
        model=reader.model,
        working_prompts=[prompt.prompt_id],
        request_data={"text": "hello"},
        **fields,
    ).job_id


def test_a_job_from_its_submission_to_its_answer(
    client: Metasync, reader: Reader
) -> None:
    client.workers.ensure(5)
    job_id = submit(client, reader, client_reference={"order": 7})
    job = client.jobs.wait(job_id, timeout=30)
    assert job.has_ended
    assert job.is_answered
    assert job.require()["result"] == "ok"
    assert job.processing_metrics is not None
    assert job.processing_metrics.total_cost
    assert job.metadata is not None
    assert job.metadata.created_at.tzinfo is not None
    (listed,) = client.jobs.list(reference={"order": 7}, fields=["status"])
    assert (listed.job_id, listed.status) == (job_id, "PROCESSED")
    assert client.jobs.summary(reference={"order": 7}).processed == 1
    client.jobs.set_status([job_id], "CONSUMED")
    assert client.jobs.get(job_id).status == "CONSUMED"
    client.jobs.delete(job_id)
    with pytest.raises(NotFoundError):
        client.jobs.get(job_id)


def test_jobs_are_waited_for_without_polling(
    client: Metasync, reader: Reader
) -> None:
    reader.simulator.configure(latency_ms=600)
    client.workers.ensure(5)
    ids = [submit(client, reader, id=str(n)) for n in range(12)]
    requests = 0
    gather = client.jobs.gather

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal requests
        requests += 1
        return gather(*arguments, **options)

    no_threads(client)  # nor what replaces a part of it
    client.jobs.gather = counted  # type: ignore[method-assign]
    found = [job.job_id for job in client.jobs.wait_all(ids, timeout=60)]
    assert sorted(found) == sorted(ids)
    # 12 jobs, 5 at once, took two seconds.
    assert requests < 15


def test_what_does_not_end_is_not_waited_for_without_end(
    client: Metasync, reader: Reader
) -> None:
    job_id = submit(client, reader)
    with pytest.raises(WaitTimeoutError, match=job_id):
        client.jobs.wait(job_id, timeout=0.2)
    with pytest.raises(WaitTimeoutError, match="1 jobs"):
        list(client.jobs.wait_all([job_id], timeout=0.2))
    no_threads(client)
    # A job that is deleted is waited for no longer.
    waiting = Thread(target=lambda: list(client.jobs.wait_all([job_id])))
    waiting.start()
    client.jobs.delete(job_id)
    began = time.monotonic()
    waiting.join(30)
    assert time.monotonic() - began < 15


def test_jobs_are_canceled_and_retried(
    client: Metasync, reader: Reader
) -> None:
    one = submit(client, reader, batch_key="night")
    for _ in range(3):
        submit(client, reader, batch_key="night")
    assert client.jobs.cancel(one).status == "CANCELED"
    dry = client.jobs.cancel_all(batch_key="night", dry_run=True)
    assert (dry.matched, dry.changed) == (3, 0)
    done = client.jobs.cancel_all(batch_key="night")
    assert (done.matched, done.changed) == (3, 3)
    with pytest.raises(BadRequestError):
        client.jobs.update(one, status="CONSUMED")
    reader.simulator.script({"pattern": ".", "text": "no JSON"})
    client.workers.ensure(5)
    failing = submit(client, reader, batch_key="day")
    ended = client.jobs.wait(failing, timeout=30)
    assert ended.status == "ERROR_PROCESSING"
    with pytest.raises(JobFailedError, match="JSON_PARSING_ERROR") as failed:
        ended.require()
    assert failed.value.answer == "no JSON"
    assert failed.value.job_id == failing
    reader.simulator.script()
    assert client.jobs.retry_all(batch_key="day").changed == 1
    assert client.jobs.wait(failing, timeout=30).is_answered


def test_many_jobs_with_one_request(client: Metasync, reader: Reader) -> None:
    jobs = [
        {
            "operation": "test",
            "model": reader.model,
            "messages": [{"role": "user", "content": f"Say {n}."}],
        }
        for n in range(5)
    ]
    made = client.jobs.create_many(jobs, idempotency_key="five")
    again = client.jobs.create_many(jobs, idempotency_key="five")
    assert [job.job_id for job in made] == [job.job_id for job in again]
    with pytest.raises(BadRequestError, match="batch item 1"):
        client.jobs.create_many([jobs[0], {**jobs[1], "model": "none"}])
    assert len(list(client.jobs.list(batch_key="five"))) == 5


def test_prompts_have_versions(client: Metasync) -> None:
    first = client.prompts.create("greeting", "Say hello.")
    assert (first.version, first.status) == (1, "PUBLISHED")
    second = client.prompts.ensure("greeting", "Say good day.")
    assert second.version == 2
    assert client.prompts.ensure("greeting", "Say good day.") == second
    draft = client.prompts.update(second.prompt_id, status="DRAFT")
    assert draft.status == "DRAFT"
    flow = client.prompt_flows.create("both", [first.prompt_id])
    ids = [second.prompt_id, first.prompt_id]
    client.prompt_flows.update(flow.flow_id, prompt_ids=ids)
    assert client.prompt_flows.get(flow.flow_id).prompt_ids == ids
    assert [each.name for each in client.prompt_flows.list()] == ["both"]
    client.prompt_flows.delete(flow.flow_id)
    names = [each.prompt_id for each in client.prompts.list(name="greeting")]
    assert names == [first.prompt_id, second.prompt_id]
    client.prompts.delete(first.prompt_id)
    with pytest.raises(NotFoundError):
        client.prompts.get(first.prompt_id)


def test_workers_are_had_running_whatever_they_were(client: Metasync) -> None:
    first = client.workers.ensure(5)
    assert (first.status, first.config["maxConcurrency"]) == ("running", 5)
    assert client.workers.ensure(5).worker_id == first.worker_id
    assert client.workers.ensure(9).config["maxConcurrency"] == 9
    # To start what runs is no error.
    client.workers.start(first.worker_id)
    client.workers.stop(first.worker_id)
    assert client.workers.ensure(9).status == "running"
    client.workers.stop(first.worker_id)
    client.workers.delete(first.worker_id)
    assert list(client.workers.list()) == []


def test_models_are_the_administrators(
    client: Metasync, reader: Reader
) -> None:
    name = unique("model")
    made = client.models.create(name, sdk="test", max_token=10)
    assert client.models.update(made.model_id, max_token=20).max_token == 20
    assert name in {model.name for model in client.models.list()}
    client.models.delete(made.model_id)
    assert name not in {model.name for model in client.models.list()}
    new = client.clients.create(unique("client"))
    assert new.client_id in new.token
    assert new.token not in repr(new)
    with Metasync(reader.url, new.token) as other:
        assert list(other.jobs.list()) == []
        with pytest.raises(PermissionDeniedError):
            other.prompts.create("p", "text", is_public=True)


def test_datasets_and_evaluations(client: Metasync, reader: Reader) -> None:
    reader.simulator.script({"pattern": ".", "json": {"label": "yes"}})
    client.workers.ensure(5)
    items = [
        {"request_data": {"n": n}, "expected": ("yes", "no")[n % 2]}
        for n in range(4)
    ]
    data = client.datasets.create(unique("data"), items)
    assert data.count == 4
    assert client.datasets.get(data.dataset_id) == data
    csv = b"text,label\na,yes\nb,no\n"
    other = client.datasets.upload(
        unique("csv"), csv, "text/csv", expected_column="label"
    )
    assert other.expected_count == 2
    texts = [each.expected for each in client.datasets.items(data.dataset_id)]
    assert texts == ["yes", "no", "yes", "no"]
    prompt = client.prompts.create(unique("prompt"), "Answer as JSON.")
    made = client.evaluations.create(
        dataset_id=data.dataset_id,
        prompt_ids=[prompt.prompt_id],
        models=[reader.model],
        metric={"type": "jsonField", "path": "label"},
    )
    ended = client.evaluations.wait(made.evaluation_id, timeout=60)
    assert ended.status == "COMPLETED"
    assert ended.results[0]["score"] == pytest.approx(0.5)
    scored = client.evaluations.items(
        made.evaluation_id, prompt_id=prompt.prompt_id, model=reader.model
    )
    assert sorted(each.score for each in scored) == [0, 0, 1, 1]
    assert made.evaluation_id in {
        each.evaluation_id for each in client.evaluations.list()
    }
    client.datasets.delete(other.dataset_id)
    assert len(list(client.datasets.list())) == 1


def test_runs_are_begun_paused_and_ended(
    client: Metasync, reader: Reader
) -> None:
    prompt = client.prompts.create(unique("prompt"), "Answer as JSON.")
    run = client.runs.create(
        initial_working_prompt_ids=[prompt.prompt_id],
        eval_prompt_id=prompt.prompt_id,
        eval_model=reader.model,
        meta_prompt_id=prompt.prompt_id,
        meta_model=reader.model,
        working_models=[reader.model],
        max_iterations=2,
        request_data={"text": "hello"},
    )
    assert client.runs.pause(run.run_id).status == "PAUSED"
    assert client.runs.wait(run.run_id, timeout=5).status == "PAUSED"
    assert client.runs.resume(run.run_id).status == "RUNNING"
    with pytest.raises(WaitTimeoutError):
        client.runs.wait(run.run_id, timeout=0.1)
    assert client.runs.cancel(run.run_id).has_ended
    assert [each.run_id for each in client.runs.list()] == [run.run_id]
    assert client.runs.get(run.run_id).status == "CANCELLED"
    assert list(client.runs.candidates(run.run_id)) == []


def test_streams_come_in_pieces(client: Metasync, reader: Reader) -> None:
    said = "so " * 30
    reader.simulator.script({"pattern": ".", "text": said})
    reader.simulator.configure(tokens_per_second=50)
    pieces = list(client.streams.create("Say it.", model=reader.model))
    assert len(pieces) > 1
    reader.simulator.configure(tokens_per_second=None)
    assert "".join(pieces) == said
    (record,) = client.streams.list()
    assert record.status == "completed"
    assert client.streams.get(record.stream_id).model == reader.model
    assert client.streams.summary().completed == 1
    reader.simulator.script(
        {"pattern": ".", "text": said, "failure": "stream_error"}
    )
    with pytest.raises(StreamFailedError):
        list(client.streams.create("Say it.", model=reader.model))
    # Words that only look like a failure are the answer's.
    reader.simulator.script({"pattern": ".", "text": "It said [Error: x]"})
    pieces = list(client.streams.create("Say it.", model=reader.model))
    assert "".join(pieces) == "It said [Error: x]"
    with pytest.raises(BadRequestError, match="Model none"):
        list(client.streams.create("Say it.", model="none"))

    async def program(user: AsyncMetasync) -> str:
        stream = user.streams.create("Say it.", model=reader.model)
        return "".join([text async for text in stream])

    assert reader.run(program) == "It said [Error: x]"


def test_usage_and_budgets_are_told(client: Metasync, reader: Reader) -> None:
    client.workers.ensure(5)
    client.jobs.wait(submit(client, reader), timeout=30)

    def counted() -> bool:
        report = client.usage.report(group_by=["model"])
        models = [group.model for group in report.groups]
        return report.total.requests == 1 and models == [reader.model]

    eventually(counted, what="the call in the ledger")
    assert client.usage.budgets() == []


def test_webhooks_are_made_and_removed(client: Metasync) -> None:
    made = client.webhooks.create("https://example.com/hook", ["job.failed"])
    assert made.secret
    assert made.secret not in repr(made)
    (listed,) = client.webhooks.list()
    assert listed.secret is None
    changed = client.webhooks.update(made.webhook_id, enabled=False)
    assert not changed.enabled
    assert list(client.webhooks.deliveries(made.webhook_id)) == []
    client.webhooks.delete(made.webhook_id)
    assert list(client.webhooks.list()) == []


def test_what_is_asked_for_by_many_threads_is_answered_to_each(
    client: Metasync, reader: Reader
) -> None:
    no_threads(client)
    client.workers.ensure(20)
    ids = [submit(client, reader, id=str(n)) for n in range(10)]
    found: dict[str, str] = {}

    def wait(job_id: str) -> None:
        found[job_id] = client.jobs.wait(job_id, timeout=30).status

    threads = [Thread(target=wait, args=[each]) for each in ids]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == dict.fromkeys(ids, "PROCESSED")
    assert time.monotonic() - began < 30
