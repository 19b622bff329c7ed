"""Limits of rate and concurrency, as models and clients have them."""

import contextlib
import time
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from aiohttp import web

from provider_simulator.running import Simulator
from tests.conftest import PROVIDER_KEY
from tests.integration.test_providers import simulated
from tests.integration.test_resilience import all_processed, counts, submit
from tests.integration.test_suspended_models import model_of
from tests.integration.test_workers import provider_model
from tests.support.api_user import ADMIN, ApiUser, Json
from tests.support.fake_provider import Body, FakeProvider
from tests.support.live_server import LiveServer, live_server, make_settings
from tests.support.waiting import eventually


class Arrivals:
    """Notes when calls reach the provider."""

    def __init__(self, provider: FakeProvider) -> None:
        self.times: list[float] = []
        self._provider = provider
        provider.handler = self.answer

    async def answer(self, body: Body) -> web.StreamResponse:
        """Answer with what was asked."""
        self.times.append(time.monotonic())
        return await self._provider.echo(body)

    def within(self, seconds: float) -> int:
        """Return the most calls of any such time."""
        times = sorted(self.times)
        return max(
            bisect_left(times, start + seconds) - position
            for position, start in enumerate(times)
        )


def client_limits(user: ApiUser, limits: Json | None) -> Json:
    path = f"/clients/{user.client_id}"
    answer: Json = user.request(
        "PATCH", path, 200, headers=ADMIN, json={"limits": limits}
    )
    return answer


def warm_up(user: ApiUser, provider: FakeProvider) -> None:
    """Have the plug-in imported, which takes seconds."""
    model = provider_model(user, provider)
    user.ended(user.job(model, user.prompt())["jobId"], seconds=30)


def test_a_rate_of_a_model_is_kept_and_nothing_is_claimed_in_vain(
    user: ApiUser, provider: FakeProvider
) -> None:
    user.worker(maxConcurrency=50)
    warm_up(user, provider)
    arrivals = Arrivals(provider)
    model = provider_model(user, provider, limits={"requestsPerMinute": 1200})
    submit(user, model, 60)
    eventually(lambda: all_processed(user, 61), seconds=20)
    # 20 a second, and what a late call has left.
    assert arrivals.within(1.0) <= 30
    assert max(arrivals.times) - min(arrivals.times) >= 2.5
    jobs = user.get("/jobs", limit=61)
    assert {(job["attempts"], job["failures"]) for job in jobs} == {(1, 0)}
    assert not any(job["attemptHistory"] for job in jobs)


def test_other_models_do_not_wait_behind_a_limit(
    user: ApiUser, provider: FakeProvider
) -> None:
    slow = provider_model(user, provider, limits={"requestsPerMinute": 6})
    submit(user, slow, 100)
    user.worker(maxConcurrency=10)
    eventually(lambda: provider.was_asked(1))
    submit(user, user.model(), 20)
    eventually(lambda: counts(user)["PROCESSED"] >= 21, seconds=10)
    assert len(provider.requests) <= 3


def test_calls_at_once_of_a_client_are_limited_over_its_workers(
    user: ApiUser, provider: FakeProvider, server: LiveServer
) -> None:
    provider.delay = 0.03
    client_limits(user, {"maxConcurrency": 3})
    client = user.http.get(f"/clients/{user.client_id}", headers=ADMIN).json()
    assert client["limits"]["maxConcurrency"] == 3
    limiter = server.application.shared.limiter
    eventually(lambda: limiter.of_client(user.client_id))
    model = provider_model(user, provider)
    submit(user, model, 60)
    for _ in range(2):
        user.worker(maxConcurrency=20)
    eventually(lambda: all_processed(user, 60), seconds=20)
    assert provider.most_running == 3


def test_limits_are_merged_checked_and_taken_away(user: ApiUser) -> None:
    model = user.model(limits={"requestsPerMinute": 600, "maxConcurrency": 4})
    path = f"/models/{model_of(user, model)['model_id']}"

    def patch(limits: Json | None, status: int = 200) -> Json:
        body = {"limits": limits}
        answer: Json = user.request(
            "PATCH", path, status, headers=ADMIN, json=body
        )
        return answer

    changed = patch({"maxConcurrency": 5})["limits"]
    assert changed["requestsPerMinute"] == 600
    assert changed["maxConcurrency"] == 5
    patch({"requestsPerMinute": 0}, 422)
    patch({"requestsPerHour": 1}, 422)
    assert set(patch(None)["limits"].values()) == {None}
    assert client_limits(user, {"tokensPerMinute": 9})["limits"] == {
        "requestsPerMinute": None,
        "tokensPerMinute": 9,
        "maxConcurrency": None,
    }
    changed = client_limits(user, {"maxConcurrency": 2})["limits"]
    assert (changed["tokensPerMinute"], changed["maxConcurrency"]) == (9, 2)
    assert "limits" not in client_limits(user, None)


@contextlib.contextmanager
def processes(
    count: int, database: str, directory: Path
) -> Iterator[list[httpx2.Client]]:
    """Run services over one database."""
    first = make_settings(directory / "0")
    with contextlib.ExitStack() as stack:
        found = []
        for number in range(count):
            settings = first.model_copy(
                update={"data_dir": directory / str(number)}
            )
            keys = {"PROVIDER_KEY": PROVIDER_KEY}
            running = stack.enter_context(
                live_server(settings, database, keys)
            )
            client = httpx2.Client(base_url=running.url, timeout=60)
            found.append(stack.enter_context(client))
        yield found


@pytest.mark.timing
def test_two_services_share_a_rate(
    database: str, tmp_path: Path, simulator: Simulator
) -> None:
    # Any second may have late calls of the one before, the burst, and what
    # both take on credit; without a common limit, it would have 40.
    simulator.configure(latency_ms=50, requests_per_second=32)
    with processes(2, database, tmp_path) as (client, _):
        user = ApiUser(client)
        model = simulated(user, simulator, limits={"requestsPerMinute": 1200})
        submit(user, model, 70)
        user.worker(maxConcurrency=20, replicas=2)
        started = time.monotonic()
        eventually(lambda: all_processed(user, 70), seconds=30)
        took = time.monotonic() - started
    assert simulator.stats()["requests"] == 70  # none was refused
    assert 3 <= took <= 7.5


@pytest.mark.timing
def test_a_full_model_is_shared_by_clients(
    user: ApiUser, http: httpx2.Client, provider: FakeProvider
) -> None:
    provider.delay = 0.05
    other = ApiUser(http)
    user.worker(maxConcurrency=50)
    other.worker(maxConcurrency=50)
    warm_up(user, provider)
    model = provider_model(
        user, provider, resilience={"bulkhead": {"maxConcurrency": 5}}
    )
    submit(user, model, 600)
    eventually(lambda: counts(user)["PROCESSED"] >= 20)
    started = time.monotonic()
    submit(other, model, 10)
    eventually(lambda: all_processed(other, 10), seconds=5)
    took = time.monotonic() - started
    other.stop_workers()
    assert counts(user)["PENDING"] > 0
    # Alone they take 0.1 s.
    assert took <= 1.5
