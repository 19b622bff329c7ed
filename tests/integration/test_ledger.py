"""The ledger against the invoice of the provider, through a real server."""

import contextlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from provider_simulator.running import Simulator, running_simulator
from provider_simulator.settings import SimulatorSettings
from tests.conftest import PROVIDER_KEY
from tests.support.api_user import ADMIN, ApiUser
from tests.support.processes import ServiceProcess, service_process
from tests.support.waiting import eventually

PRICES: dict[str, Any] = {
    "tokens": 1_000_000,
    "input": 0.15,
    "output": 0.6,
    "cachedInput": 0.075,
    "cacheWrite": 0.1875,
    "reasoning": 0.7,
    "perRequest": 0.0003,
}
TOKENS = (
    "requests",
    "inputTokens",
    "cachedTokens",
    "cacheWriteTokens",
    "outputTokens",
    "reasoningTokens",
)
FAILURES = {
    "server_error": 0.03,
    "overloaded": 0.02,
    "rate_limited": 0.03,
    "content_filter": 0.03,
    "reset": 0.04,
    # A job that gets three of these in a row ends, and nobody knows what
    # they have cost.
    "truncated": 0.005,
    "invalid_json": 0.005,
}
# Every call is made again until it is answered.
PATIENT = {
    "retry": {"maxAttempts": 20, "minWait": 0.1, "maxWait": 0.2},
    "circuitBreaker": {"failureThreshold": 1000},
}


def snake(name: str) -> str:
    return re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", name)


def settings(**more: Any) -> SimulatorSettings:
    prices = {snake(name): str(value) for name, value in PRICES.items()}
    return SimulatorSettings.read(
        {
            "prices": {"*": prices},
            "cached_share": 0.3,
            "cache_write_share": 0.2,
            "reasoning_tokens": 7,
            "idempotency_entries": 1_000_000,
            "idempotency_seconds": 3600,
            **more,
        }
    )


def model(user: ApiUser, simulator: Simulator, sdk: str, **more: Any) -> str:
    return user.model(
        sdk=sdk,
        endpoint=simulator.base_urls[sdk],
        key="PROVIDER-KEY",
        deployment=f"theirs-{sdk}",
        cost={**PRICES, "currency": "USD"},
        resilience=PATIENT,
        **more,
    )


def of_ledger(http: httpx2.Client) -> dict[str, Any]:
    params = {"groupBy": "model"}
    answer = http.get("/usage", params=params, headers=ADMIN)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def same(ledger: Mapping[str, Any], bill: Mapping[str, Any]) -> bool:
    """Compare the ledger with an invoice, to the last unit."""
    billed = {snake(name): 0 for name in TOKENS}
    for line in bill["models"].values():
        for name in billed:
            billed[name] += line[name]
    total = ledger["total"]
    if [total[name] for name in TOKENS] != list(billed.values()):
        return False
    cost = (total["costByCurrency"] or {}).get("USD", 0)
    wanted = Decimal(bill["total"]["cost"].get("USD", "0"))
    return Decimal(repr(cost)) == wanted.normalize()


@contextmanager
def a_service(data_dir: Path) -> Iterator[tuple[ServiceProcess, ApiUser]]:
    variables = {
        "LEASE_SECONDS": "2",
        "MAX_ATTEMPTS": "100",
        "PROVIDER_KEY": PROVIDER_KEY,
    }
    with (
        service_process(data_dir, **variables) as service,
        httpx2.Client(base_url=service.url, timeout=30) as http,
    ):
        yield service, ApiUser(http)


def submit(user: ApiUser, models: list[str], count: int) -> None:
    prompt = user.prompt()
    body = user.job_body(models[0], prompt)
    steps = {
        "evalPrompt": prompt,
        "evalModel": models[-1],
        "metaPrompt": prompt,
        "metaModel": models[0],
    }
    for start in range(0, count, 1000):
        jobs = [
            {
                **body,
                **(steps if n % 10 == 0 else {}),
                "model": models[n % len(models)],
                "operation": f"op-{n % 3}",
                "requestData": {"n": n, "text": "word " * (n % 50)},
            }
            for n in range(start, min(start + 1000, count))
        ]
        user.post("/jobs/batch", {"jobs": jobs})


def waiting(user: ApiUser) -> int:
    summary = user.get("/jobs/summary")
    return int(summary["PENDING"] + summary["PROCESSING"])


def are_left(user: ApiUser, most: int) -> bool:
    return waiting(user) <= most


def kill_and_compare(data_dir: Path, count: int, kills: int) -> None:
    """Run jobs with failures, kill the process, compare the books."""
    with (
        running_simulator(
            settings(failures=FAILURES, latency_ms=30)
        ) as simulator,
        a_service(data_dir) as (service, user),
    ):
        models = [model(user, simulator, n) for n in ("OpenAI", "Anthropic")]
        user.worker(maxConcurrency=40)
        submit(user, models, count)
        for kill in range(1, kills + 1):
            left = count - count * kill // (kills + 1)
            eventually(partial(are_left, user, left), seconds=280)
            service.kill()
            service.start()
        eventually(partial(are_left, user, 0), seconds=280)
        http = user.http
        # A dead process's blocks are settled when it is found dead.
        with contextlib.suppress(AssertionError):
            eventually(
                lambda: same(of_ledger(http), simulator.invoice()), seconds=60
            )
        ledger, invoice = of_ledger(http), simulator.invoice()
        assert same(ledger, invoice), f"{ledger} == {invoice}"
        assert ledger["total"]["unpricedRequests"] == 0
        assert ledger["total"]["requests"] >= count
        # By model it is the same in other words.
        assert {group["model"] for group in ledger["groups"]} == set(models)


@pytest.mark.long
@pytest.mark.slow
def test_after_failures_and_kills_the_ledger_is_the_invoice(
    data_dir: Path,
) -> None:
    kill_and_compare(data_dir, 150, 1)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_so_it_is_after_twenty_thousand_jobs(data_dir: Path) -> None:
    kill_and_compare(data_dir, 20_000, 5)
