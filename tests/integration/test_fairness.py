"""What others wait beside a flood of jobs; by the order of calls."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil

import httpx2
import pytest

from tests.integration.test_resilience import counts, submit
from tests.integration.test_workers import provider_model
from tests.support.api_user import ADMIN, ApiUser, Json
from tests.support.fake_provider import Body, FakeProvider
from tests.support.live_server import LiveServer
from tests.support.timing import is_within
from tests.support.waiting import eventually

PLACES = {"bulkhead": {"maxConcurrency": 4}}


def data_of(body: Body) -> Json:
    data: Json = json.loads(body["messages"][-1]["content"])
    return data


def position(provider: FakeProvider, wanted: Callable[[Json], bool]) -> int:
    """Return how many calls began before the last one of these."""
    found = [
        number
        for number, body in enumerate(list(provider.requests))
        if wanted(data_of(body))
    ]
    return found[-1]


@contextmanager
def other_client(http: httpx2.Client) -> Iterator[ApiUser]:
    other = ApiUser(http)
    try:
        yield other
    finally:
        other.stop_workers()


def test_an_interactive_job_waits_for_no_bulk_job_in_the_queue(
    user: ApiUser, provider: FakeProvider
) -> None:
    provider.delay = 0.05
    model = provider_model(user, provider, resilience=PLACES)
    submit(user, model, 400)
    user.worker(maxConcurrency=20)
    eventually(lambda: provider.was_asked(20), seconds=30)
    prompt, last = user.prompt(), 0
    for number in range(3):
        before = len(provider.requests)
        made = user.job(
            model,
            prompt,
            serviceClass="interactive",
            requestData={"person": number},
        )
        assert made["serviceClass"] == "interactive"
        ended = user.ended(made["jobId"], seconds=30)
        assert ended["attempts"] == 1
        last = position(provider, lambda data: "person" in data) - before
    # Those that ran and were about to, not the queue's hundreds.
    assert last <= 40
    assert counts(user)["PENDING"] > 100


def test_a_clients_queue_does_not_delay_another_clients_ten_jobs(
    user: ApiUser, provider: FakeProvider, http: httpx2.Client
) -> None:
    provider.delay = 0.05
    model = provider_model(user, provider, resilience=PLACES)
    submit(user, model, 600)
    user.worker(maxConcurrency=20)
    with other_client(http) as other:
        other.worker(maxConcurrency=10)
        eventually(lambda: provider.was_asked(20), seconds=30)
        prompt = other.prompt()
        before = len(provider.requests)
        jobs = [
            other.job_body(model, prompt, requestData={"other": n})
            for n in range(10)
        ]
        other.post("/jobs/batch", {"jobs": jobs})
        eventually(lambda: counts(other)["PROCESSED"] == 10, seconds=30)
    # Ten of the other one's turns, and those that were about to begin.
    last = position(provider, lambda data: "other" in data) - before
    assert last <= 100
    assert counts(user)["PENDING"] > 100


@pytest.mark.long
def test_weights_are_those_of_the_calls(
    user: ApiUser, provider: FakeProvider, http: httpx2.Client
) -> None:
    """Counted between the moments when both have calls that wait."""
    provider.delay = 0.05
    model = provider_model(user, provider, resilience=PLACES)
    with other_client(http) as other:
        path = f"/clients/{other.client_id}"
        other.request("PATCH", path, 200, headers=ADMIN, json={"weight": 3})
        prompt = other.prompt()
        submit(user, model, 400)
        jobs = [
            other.job_body(model, prompt, requestData={"other": n})
            for n in range(400)
        ]
        other.post("/jobs/batch", {"jobs": jobs})
        for each in (user, other):
            each.worker(maxConcurrency=20)
        # The weight is read within two seconds.
        eventually(lambda: provider.was_asked(380), seconds=60)
        late = [data_of(body) for body in list(provider.requests)[220:380]]
        share = sum("other" in data for data in late) / len(late)
    assert 0.65 <= share <= 0.85


@pytest.mark.long
@pytest.mark.timing
def test_interactive_calls_take_as_long_beside_bulk_as_alone(
    user: ApiUser, provider: FakeProvider
) -> None:
    provider.delay = 0.5
    places = {"bulkhead": {"maxConcurrency": 20}}
    model = provider_model(user, provider, resilience=places)
    prompt = user.prompt()
    user.worker(maxConcurrency=80)

    def call() -> None:
        made = user.job(model, prompt, serviceClass="interactive")
        answer = user.get(f"/jobs/{made['jobId']}", wait=30)
        assert answer["status"] == "PROCESSED"

    _p99(call, 2)
    alone = _p99(call, 25)
    submit(user, model, 5000)
    _p99(call, 3)
    assert is_within(1.2 * alone + 0.05, lambda: _p99(call, 25))
    assert counts(user)["PENDING"] > 1000


@pytest.mark.long
@pytest.mark.timing
def test_many_jobs_delay_another_clients_ten_by_less_than_a_second(
    user: ApiUser, provider: FakeProvider, http: httpx2.Client
) -> None:
    provider.delay = 0.2
    places = {"bulkhead": {"maxConcurrency": 20}}
    model = provider_model(user, provider, resilience=places)
    user.worker(maxConcurrency=80)
    with other_client(http) as other:
        prompt = other.prompt()
        other.worker(maxConcurrency=10)

        def ten() -> float:
            jobs = [other.job_body(model, prompt) for _ in range(10)]
            began = time.perf_counter()
            made = other.post("/jobs/batch", {"jobs": jobs})
            for job in made:
                other.get(f"/jobs/{job['jobId']}", wait=30)
            return time.perf_counter() - began

        ten()
        alone = min(ten() for _ in range(3))
        submit(user, model, 5000)
        eventually(lambda: counts(user)["PROCESSING"] >= 20, seconds=30)
        assert is_within(alone + 1.0, ten)
    assert counts(user)["PENDING"] > 1000


def _p99(action: Callable[[], object], calls: int) -> float:
    """Have four users make calls; return the 99th percentile."""
    times: list[float] = []

    def user() -> None:
        for _ in range(calls):
            began = time.perf_counter()
            action()
            times.append(time.perf_counter() - began)

    threads = [threading.Thread(target=user) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(times) == 4 * calls
    return sorted(times)[ceil(0.99 * len(times)) - 1]


def test_with_more_workers_than_threads_no_client_waits_for_another(
    user: ApiUser,
    provider: FakeProvider,
    server: LiveServer,
    http: httpx2.Client,
) -> None:
    """Ten busy workers of one client, one job of another one."""
    provider.holds = True
    model = provider_model(user, provider)
    threads = server.application.settings.num_llm_workers
    for _ in range(threads + 2):
        user.worker(maxConcurrency=2)
    submit(user, model, 200)
    eventually(lambda: provider.was_asked(threads), seconds=60)
    with other_client(http) as other:
        other.worker(maxConcurrency=2)
        other.job(model, other.prompt(), requestData={"other": 1})

        def is_asked() -> bool:
            bodies = list(provider.requests)
            return any("other" in data_of(body) for body in bodies)

        eventually(is_asked, seconds=20)
        provider.holds = False
