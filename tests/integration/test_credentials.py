"""Models with several keys, through the interface."""

import json
from collections import Counter
from typing import Any

import httpx2
import pytest
from aiohttp import web

from tests.conftest import OTHER_KEYS, PROVIDER_KEY
from tests.support.api_user import ADMIN, ApiUser
from tests.support.fake_provider import FakeProvider, completion, failure
from tests.support.gateway_user import GatewayUser
from tests.support.waiting import eventually

KEYS = ["PROVIDER-KEY", *OTHER_KEYS]
SECRETS = [PROVIDER_KEY, *OTHER_KEYS.values()]


def keyed(user: ApiUser, provider: FakeProvider, **fields: Any) -> str:
    return user.model(
        sdk="OpenAI",
        endpoint=provider.url,
        deployment="fake",
        **{"keys": KEYS, **fields},
    )


def refusing(provider: FakeProvider, secret: str, status: int) -> None:
    async def answer(body: dict[str, Any]) -> web.StreamResponse:
        # Requests are answered in the order in which they came.
        if provider.authorizations[-1] == f"Bearer {secret}":
            return failure(status, "not this key")
        text = body["messages"][-1]["content"]
        return completion(json.dumps({"echo": json.loads(text)}))

    provider.handler = answer


def used(provider: FakeProvider) -> Counter[str]:
    return Counter(
        each.removeprefix("Bearer ") for each in provider.authorizations
    )


def suspension(user: ApiUser, name: str) -> Any:
    found = user.get("/models", limit=1000)
    return next(each for each in found if each["name"] == name)["suspended"]


def run(user: ApiUser, model: str, count: int) -> list[Any]:
    prompt = user.prompt()
    jobs = [
        user.job(model, prompt, requestData={"n": number})["jobId"]
        for number in range(count)
    ]
    user.worker(maxConcurrency=1)
    return [user.ended(job_id) for job_id in jobs]


def test_keys_take_turns(user: ApiUser, provider: FakeProvider) -> None:
    jobs = run(user, keyed(user, provider), 9)
    assert {job["status"] for job in jobs} == {"PROCESSED"}
    assert used(provider) == dict.fromkeys(SECRETS, 3)


def test_usage_by_credential_is_the_administrators(
    user: ApiUser, provider: FakeProvider
) -> None:
    refusing(provider, SECRETS[1], 401)
    name = keyed(user, provider)
    run(user, name, 8)

    def groups() -> Any:
        report = user.request(
            "GET",
            "/usage",
            200,
            params={"groupBy": "model,credential"},
            headers=ADMIN,
        )
        found = [g for g in report["groups"] if g["model"] == name]
        return found if sum(g["requests"] for g in found) == 8 else None

    found = eventually(groups)
    assert {g["credential"]: g["requests"] for g in found} == {
        KEYS[0]: 4,
        KEYS[2]: 4,
    }
    user.request("GET", "/usage", 403, params={"groupBy": "credential"})
    # The same calls, where nobody asks for keys.
    (whole,) = user.get("/usage", groupBy="model")["groups"]
    assert whole["requests"] == 8


@pytest.mark.parametrize("status", [401, 429])
def test_a_key_that_is_refused_hurts_no_job(
    user: ApiUser, provider: FakeProvider, status: int
) -> None:
    refusing(provider, SECRETS[1], status)
    model = keyed(user, provider)
    jobs = run(user, model, 12)
    assert {job["status"] for job in jobs} == {"PROCESSED"}
    assert {job["attempts"] for job in jobs} == {1}
    assert not any(job["attemptHistory"] for job in jobs)
    counts = used(provider)
    if status == 401:
        assert counts[SECRETS[1]] == 1
    assert counts[SECRETS[0]] + counts[SECRETS[2]] == 12
    assert suspension(user, model) is None


def test_a_model_is_suspended_when_all_keys_are_refused(
    user: ApiUser, provider: FakeProvider
) -> None:
    async def answer(_: Any) -> web.StreamResponse:
        return failure(401, "no such key")

    provider.handler = answer
    model = keyed(user, provider)
    job = user.job(model, user.prompt())
    user.worker()
    suspended = eventually(lambda: suspension(user, model))
    assert suspended["reason"]
    assert used(provider) == dict.fromkeys(SECRETS, 1)
    path = f"/jobs/{job['jobId']}"
    eventually(lambda: user.get(path)["status"] == "PENDING")


def test_a_variable_that_is_not_set_is_passed_over(
    user: ApiUser, provider: FakeProvider
) -> None:
    model = keyed(user, provider, keys=["PROVIDER-NOT-SET", "PROVIDER-KEY"])
    jobs = run(user, model, 4)
    assert {job["status"] for job in jobs} == {"PROCESSED"}
    assert used(provider) == {PROVIDER_KEY: 4}


def test_streams_and_the_gateway_take_turns_too(
    http: httpx2.Client, provider: FakeProvider
) -> None:
    user = GatewayUser(http)
    refusing(provider, SECRETS[0], 401)
    model = keyed(user, provider)
    with user.openai() as client:
        for number in range(6):
            answer = client.chat.completions.create(
                model=model,
                messages=[{"role": "user", "content": str(number)}],
            )
            text = answer.choices[0].message.content
            assert text == json.dumps({"echo": number})
    counts = used(provider)
    assert counts == {SECRETS[0]: 1, SECRETS[1]: 3, SECRETS[2]: 3}


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ([], "keys"),
        (["PROVIDER-KEY", "PROVIDER_KEY"], "names a variable twice"),
        (["PATH"], "never used as a model's key"),
        (["sk-012345678901234567890123"], "looks like a key"),
    ],
)
def test_keys_are_checked(user: ApiUser, keys: list[str], said: str) -> None:
    body = {"name": "m", "sdk": "OpenAI", "maxToken": 9, "keys": keys}
    answer = user.request("POST", "/models", 422, headers=ADMIN, json=body)
    assert said in str(answer)
