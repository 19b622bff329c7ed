"""`GET /usage`, as clients and the administrator see it."""

from functools import partial
from typing import Any

import pytest

from provider_simulator.running import Simulator
from tests.support.api_user import ADMIN, ApiUser, unique
from tests.support.live_server import LiveServer
from tests.support.waiting import eventually


def model(user: ApiUser, simulator: Simulator, **fields: Any) -> str:
    return user.model(
        sdk="OpenAI",
        endpoint=simulator.base_urls["OpenAI"],
        key="PROVIDER-KEY",
        **fields,
    )


def requests(user: ApiUser) -> int:
    return int(user.get("/usage")["total"]["requests"])


def has(user: ApiUser, count: int) -> bool:
    return requests(user) == count


def test_usage_by_day_model_and_operation(
    user: ApiUser, simulator: Simulator
) -> None:
    simulator.script(
        {"text": "{}", "usage": {"input_tokens": 1000, "output_tokens": 500}}
    )
    name, prompt = model(user, simulator), user.prompt()
    user.worker()
    ids = [
        user.job(name, prompt, operation=operation)["jobId"]
        for operation in ("a", "a", "b\x1fb")
    ]
    for job_id in ids:
        assert user.ended(job_id)["status"] == "PROCESSED"
    eventually(partial(has, user, 3))
    # What was used stays when the jobs go.
    user.request("DELETE", f"/jobs/{ids[0]}", 204)
    report = user.get("/usage", groupBy="operation,model")
    first, second = report["groups"]
    assert first == {
        "operation": "a",
        "model": name,
        "requests": 2,
        "inputTokens": 2000,
        "cachedTokens": 0,
        "cacheWriteTokens": 0,
        "outputTokens": 1000,
        "reasoningTokens": 0,
        "totalTokens": 3000,
        "costByCurrency": {"USD": 4.0},
        "unpricedRequests": 0,
        "cachedAnswers": 0,
    }
    assert (second["operation"], second["requests"]) == ("b b", 1)
    assert report["total"]["costByCurrency"] == {"USD": 6.0}
    (today,) = user.get("/usage", groupBy="day")["groups"]
    day = today["day"]
    assert user.get("/usage", **{"from": day, "to": day}) == {
        "total": report["total"],
        "groups": [],
    }
    assert user.get("/usage", to="2020-01-01")["total"]["requests"] == 0


def test_a_client_sees_its_own_and_the_administrator_all(
    user: ApiUser, simulator: Simulator
) -> None:
    name = model(user, simulator)
    user.worker()
    user.ended(user.job(name, user.prompt())["jobId"])
    eventually(partial(has, user, 1))
    other = ApiUser(user.http)
    assert requests(other) == 0
    groups = user.request(
        "GET", "/usage", 200, params={"groupBy": "client"}, headers=ADMIN
    )["groups"]
    assert user.client_id in {group["clientId"] for group in groups}


def test_what_has_no_price_costs_null(
    user: ApiUser, simulator: Simulator
) -> None:
    name = model(user, simulator, cost=None)
    user.worker()
    job = user.ended(user.job(name, user.prompt())["jobId"])
    assert job["processingMetrics"]["totalCost"] is None
    eventually(partial(has, user, 1))
    total = user.get("/usage")["total"]
    assert total["costByCurrency"] is None
    assert total["unpricedRequests"] == 1
    assert total["inputTokens"] > 0


def test_a_stream_is_in_the_ledger(
    user: ApiUser, simulator: Simulator
) -> None:
    body = {"model": model(user, simulator), "userPrompt": "Hello"}
    answer = user.http.post("/stream", headers=user.headers, json=body)
    assert answer.status_code == 200, answer.text
    eventually(partial(has, user, 1))
    (group,) = user.get("/usage", groupBy="operation")["groups"]
    assert group["operation"] == "stream"
    assert group["costByCurrency"]["USD"] > 0


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({"groupBy": "colour"}, 422),
        ({"groupBy": "day,"}, 422),
        ({"group": "day"}, 422),
        ({"from": "yesterday"}, 400),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(
    user: ApiUser, params: dict[str, str], status: int
) -> None:
    user.request("GET", "/usage", status, params=params)


def test_a_price_can_be_set_and_taken_back(
    fresh: LiveServer, own: ApiUser
) -> None:
    del fresh
    body = {
        "name": unique("model"),
        "sdk": "OpenAI",
        "maxToken": 10,
    }
    made = own.request("POST", "/models", 201, json=body, headers=ADMIN)
    path = f"/models/{made['model_id']}"
    assert made["cost"] is None
    bands = [{"from": "22:00", "to": "06:00", "factor": 0.5}]
    cost = {"input": 1, "output": 2, "bands": bands, "perRequest": 0.01}
    changed = own.request(
        "PATCH", path, 200, json={"cost": cost}, headers=ADMIN
    )
    assert changed["cost"] == {
        "tokens": 1_000_000,
        "currency": "USD",
        **cost,
    }
    taken = own.request("PATCH", path, 200, json={"cost": None}, headers=ADMIN)
    assert taken["cost"] is None
