"""A provider's account that is stopped, and opened again."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from aiohttp import web

from tests.conftest import PROVIDER_KEY
from tests.integration.test_resilience import all_processed, counts, submit
from tests.integration.test_workers import provider_model
from tests.support.api_user import ADMIN, ApiUser, Json
from tests.support.fake_provider import Body, FakeProvider, completion
from tests.support.live_server import live_server, make_settings
from tests.support.metrics import TOKEN
from tests.support.waiting import eventually

QUICK = {"retry": {"minWait": 0.1, "maxWait": 1}}
TRIAL_SECONDS = 1.0


class Account:
    """A provider's account: it answers while it is open."""

    def __init__(self, provider: FakeProvider) -> None:
        self.open = True
        self.left: int | None = None
        self.refused = 0
        self.status, self.code = 429, "insufficient_quota"
        self.message = "You exceeded your current quota"
        provider.handler = self.answer

    async def answer(self, _body: Body) -> web.StreamResponse:
        """Answer, as long as there is money."""
        if self.left == 0:
            self.open, self.left = False, None
        if self.open:
            if self.left is not None:
                self.left -= 1
            return completion('{"fine": true}')
        self.refused += 1
        error = {"message": self.message, "type": self.code, "code": self.code}
        return web.json_response({"error": error}, status=self.status)


@pytest.fixture
def account(provider: FakeProvider) -> Account:
    return Account(provider)


@pytest.fixture
def quick(database: str, tmp_path: Path) -> Iterator[ApiUser]:
    """The only client of a service that tries suspended models often."""
    settings = make_settings(
        tmp_path / "quick",
        metrics_token=TOKEN,
        suspended_trial_seconds=TRIAL_SECONDS,
    )
    keys = {"PROVIDER_KEY": PROVIDER_KEY}
    with (
        live_server(settings, database, keys) as running,
        httpx2.Client(base_url=running.url, timeout=60) as client,
    ):
        yield ApiUser(client)


def model_of(user: ApiUser, name: str) -> Json:
    (found,) = [m for m in user.get("/models") if m["name"] == name]
    return dict(found)


def suspended(user: ApiUser, name: str) -> Json:
    return eventually(
        lambda: model_of(user, name)["suspended"], what="the suspension"
    )


def resume(user: ApiUser, name: str) -> Json:
    path = f"/models/{model_of(user, name)['model_id']}/resume"
    answer: Json = user.request("POST", path, 200, headers=ADMIN)
    return answer


@pytest.mark.long
def test_money_that_is_gone_for_a_while_costs_no_job(
    quick: ApiUser, provider: FakeProvider, account: Account
) -> None:
    model = provider_model(quick, provider, resilience=QUICK)
    provider.delay = 0.01
    account.left = 100
    submit(quick, model, 300)
    quick.worker(maxConcurrency=20)
    assert suspended(quick, model)["reason"] == "NO_CREDIT"
    eventually(lambda: account.refused > 20 or provider.running == 0)
    before = account.refused
    assert before <= 20
    eventually(lambda: account.refused == before + 2, seconds=10)
    found = counts(quick)
    assert (found["PROCESSED"], found["ERROR_PROCESSING"]) == (100, 0)
    assert found["PENDING"] + found["PROCESSING"] == 200
    account.open = True
    eventually(lambda: all_processed(quick, 300), seconds=20)
    assert model_of(quick, model)["suspended"] is None
    # Those in flight, and one trial each second.
    assert account.refused <= before + 3
    jobs = quick.get("/jobs", limit=300)
    assert {(job["attempts"], job["failures"]) for job in jobs} == {(1, 0)}


@pytest.mark.parametrize(
    ("status", "code", "message", "reason"),
    [
        (402, "x", "Payment required", "NO_CREDIT"),
        (400, "x", "Your credit balance is too low", "NO_CREDIT"),
        (403, "billing_not_active", "Your account", "NO_CREDIT"),
        (429, "x", "Limit 200 requests per day (RPD)", "QUOTA_EXHAUSTED"),
        (401, "invalid_api_key", "Incorrect key", "KEY_REFUSED"),
        (404, "model_not_found", "It does not exist", "MODEL_NOT_FOUND"),
    ],
)
def test_what_suspends_a_model(
    user: ApiUser,
    provider: FakeProvider,
    account: Account,
    status: int,
    code: str,
    message: str,
    reason: str,
) -> None:
    account.open = False
    account.status, account.code, account.message = status, code, message
    model = provider_model(user, provider, resilience=QUICK)
    user.worker()
    job = user.job(model, user.prompt())["jobId"]
    assert suspended(user, model)["reason"] == reason

    def waits() -> Json | None:
        found: Json = user.get(f"/jobs/{job}")
        assert (found["status"], found["failures"]) != ("ERROR_PROCESSING", 0)
        waiting: Json | None = found["waitingFor"]
        is_it = waiting is not None and waiting["kind"] == "SUSPENDED"
        return waiting if is_it else None

    waiting = eventually(waits, what="what the job waits for")
    assert waiting["until"] > model_of(user, model)["suspended"]["since"]
    assert PROVIDER_KEY not in json.dumps(model_of(user, model))
    account.open = True
    assert resume(user, model)["suspended"] is None
    done = user.ended(job)
    assert (done["status"], done["attempts"]) == ("PROCESSED", 1)
    assert account.refused == 1


def test_a_missing_permission_of_one_request_suspends_nothing(
    user: ApiUser, provider: FakeProvider, account: Account
) -> None:
    account.open, account.status, account.code = False, 403, "x"
    account.message = "Not for this region"
    model = provider_model(user, provider)
    user.worker()
    done = user.ended(user.job(model, user.prompt())["jobId"])
    assert done["errorData"]["errorType"] == "NOT_AUTHORIZED"
    assert model_of(user, model)["suspended"] is None


def test_jobs_that_are_not_to_wait_end_and_name_the_remedy(
    quick: ApiUser, provider: FakeProvider, account: Account
) -> None:
    account.open = False
    model = provider_model(quick, provider, onSuspended="fail")
    quick.worker()
    prompt = quick.prompt()
    first = quick.ended(quick.job(model, prompt)["jobId"])
    assert first["errorData"]["errorType"] == "ACCOUNT_EXHAUSTED"
    second = quick.ended(quick.job(model, prompt)["jobId"])
    assert second["errorData"]["errorType"] == "MODEL_SUSPENDED"
    assert "Add credit" in second["errorData"]["message"]
    assert account.refused == 1
    account.open = True
    resume(quick, model)
    third = quick.ended(quick.job(model, prompt)["jobId"])
    assert third["status"] == "PROCESSED"


def test_a_model_that_is_changed_is_tried_at_once(
    user: ApiUser, provider: FakeProvider, account: Account
) -> None:
    account.open = False
    model = provider_model(user, provider, resilience=QUICK)
    user.worker()
    job = user.job(model, user.prompt())["jobId"]
    suspended(user, model)
    account.open = True
    path = f"/models/{model_of(user, model)['model_id']}"
    user.request("PATCH", path, 200, headers=ADMIN, json={"maxToken": 7})
    assert user.ended(job)["status"] == "PROCESSED"
    assert model_of(user, model)["suspended"] is None


def test_a_new_model_with_the_name_of_a_suspended_one_is_used(
    user: ApiUser, provider: FakeProvider, account: Account
) -> None:
    account.open = False
    name = provider_model(user, provider, resilience=QUICK)
    user.worker()
    job = user.job(name, user.prompt())["jobId"]
    suspended(user, name)
    path = f"/models/{model_of(user, name)['model_id']}"
    user.request("DELETE", path, 204, headers=ADMIN)
    account.open = True
    user.model(
        name=name, sdk="OpenAI", endpoint=provider.url, key="PROVIDER-KEY"
    )
    assert user.ended(job)["status"] == "PROCESSED"


def test_streams_are_told_and_the_state_is_shown(
    quick: ApiUser, provider: FakeProvider, account: Account
) -> None:
    account.open = False
    model = provider_model(quick, provider)
    body = {"model": model, "userPrompt": "hello"}
    quick.post("/stream", body, 502)
    answer = quick.post("/stream", body, 502)
    assert "is suspended" in json.dumps(answer)
    assert account.refused == 1
    found = model_of(quick, model)
    path = f"/models/{found['model_id']}/health"
    health = quick.request("GET", path, 200, headers=ADMIN)
    assert (health["available"], health["suspended"]["reason"]) == (
        False,
        "NO_CREDIT",
    )
    page = quick.http.get(
        "/metrics", headers={"Authorization": f"Bearer {TOKEN}"}
    ).text
    assert f'metasync_model_suspended{{model="{model}"' in page


def test_only_the_administrator_resumes(user: ApiUser) -> None:
    model = model_of(user, user.model())
    user.post(f"/models/{model['model_id']}/resume", None, 401)
    nobody = "/models/665f1c2ab7e4d90012345678/resume"
    user.request("POST", nobody, 404, headers=ADMIN)


@pytest.mark.long
def test_twenty_thousand_jobs_and_no_money_for_twenty_seconds(
    quick: ApiUser, account: Account, provider: FakeProvider
) -> None:
    model = provider_model(quick, provider, resilience=QUICK)
    account.left = 5_000
    for _ in range(4):
        submit(quick, model, 5_000)
    quick.worker(maxConcurrency=50)
    eventually(lambda: account.refused, seconds=120)
    open_again = time.monotonic() + 20
    eventually(lambda: time.monotonic() > open_again, seconds=30)
    assert counts(quick)["PROCESSED"] == 5_000
    account.open = True
    eventually(lambda: all_processed(quick, 20_000), seconds=180)
    # Those in flight, and one trial each second.
    assert account.refused <= 50 + 21
