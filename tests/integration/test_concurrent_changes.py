"""Several people change one thing at once, through the interface."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from tests.support.api_user import ADMIN, ApiUser, unique

Answers = list[tuple[int, Any]]


def at_once(calls: list[Callable[[], tuple[int, Any]]]) -> Answers:
    with ThreadPoolExecutor(len(calls)) as threads:
        return [each.result() for each in [threads.submit(c) for c in calls]]


def patching(
    http: httpx2.Client, path: str, headers: Any, body: Any
) -> Callable[[], tuple[int, Any]]:
    def call() -> tuple[int, Any]:
        response = http.patch(path, headers=headers, json=body)
        return response.status_code, response.json()

    return call


@pytest.mark.parametrize("_", range(3))
def test_no_change_of_a_model_is_lost(
    http: httpx2.Client, user: ApiUser, _: int
) -> None:
    name = user.model()
    (model,) = [each for each in user.get("/models") if each["name"] == name]
    path = f"/models/{model['model_id']}"
    bodies = [
        {"resilience": {"retry": {"maxAttempts": 7}}},
        {"resilience": {"retry": {"minWait": 2.5}}},
        {"resilience": {"timeout": {"read": 77}}},
        {"resilience": {"bulkhead": {"maxConcurrency": 9}}},
        {"resilience": {"circuitBreaker": {"failureThreshold": 8}}},
        {"cost": {"input": 3, "output": 2.0, "currency": "USD"}},
        {"maxToken": 55},
        {"deployment": "d"},
    ]
    answers = at_once([patching(http, path, ADMIN, b) for b in bodies])
    assert [status for status, _ in answers] == [200] * len(bodies)
    final = user.request("GET", path, 200, headers=ADMIN)
    kept = final["resilience"]
    assert kept["retry"]["maxAttempts"] == 7
    assert kept["retry"]["minWait"] == 2.5
    assert kept["timeout"]["read"] == 77
    assert kept["bulkhead"]["maxConcurrency"] == 9
    assert kept["circuitBreaker"]["failureThreshold"] == 8
    assert final["cost"]["input"] == 3
    assert (final["maxToken"], final["deployment"]) == (55, "d")


@pytest.mark.parametrize("_", range(3))
def test_no_change_of_a_workers_config_is_lost(
    http: httpx2.Client, user: ApiUser, _: int
) -> None:
    config = {"pollInterval": 3600, "maxItemsPerBatch": 1}
    body = {"workerId": "w", "config": config}
    path = f"/workers/{user.post('/workers', body)['workerId']}"
    fields = {
        "pollInterval": 1800,
        "maxItemsPerBatch": 7,
        "maxConcurrency": 5,
        "replicas": 2,
        "modelFilter": "m",
        "operationFilter": "o",
        "clientReferenceFilters": {"a": 1},
    }
    calls = [
        patching(http, path, user.headers, {"config": {name: value}})
        for name, value in fields.items()
    ]
    group = patching(http, path, user.headers, {"group": "g"})
    answers = at_once([*calls, group])
    assert [status for status, _ in answers] == [200] * (len(fields) + 1)
    final = user.get(path)
    assert final["config"] == fields
    assert final["group"] == "g"


def test_no_change_of_a_client_is_lost(
    http: httpx2.Client, user: ApiUser
) -> None:
    path = f"/clients/{user.client_id}"

    def toggle() -> tuple[int, Any]:
        response = http.post(f"{path}/toggle", headers=ADMIN)
        return response.status_code, response.json()

    renamed = patching(http, path, ADMIN, {"name": "renamed"})
    answers = at_once([*[toggle] * 9, renamed])
    assert [status for status, _ in answers] == [200] * 10
    final = user.request("GET", path, 200, headers=ADMIN)
    assert (final["name"], final["enabled"]) == ("renamed", False)


@pytest.mark.parametrize("_", range(3))
def test_no_change_of_a_prompt_is_lost(
    http: httpx2.Client, user: ApiUser, _: int
) -> None:
    path = f"/prompts/{user.prompt()}"
    bodies = [{"prompt": "new"}, {"status": "ARCHIVE"}, {"version": "x"}]
    answers = at_once([patching(http, path, user.headers, b) for b in bodies])
    assert [status for status, _ in answers] == [200] * 3
    final = user.get(path)
    assert (final["prompt"], final["status"]) == ("new", "ARCHIVE")
    assert final["version"] == "x"


def test_no_change_of_a_prompt_flow_is_lost(
    http: httpx2.Client, user: ApiUser
) -> None:
    body = {"name": "f", "promptIds": ["p"], "isPublic": False}
    path = f"/prompt-flows/{user.post('/prompt-flows', body)['flowId']}"
    bodies = [{"name": "new"}, {"promptIds": ["q", "r"]}]
    answers = at_once([patching(http, path, user.headers, b) for b in bodies])
    assert [status for status, _ in answers] == [200] * 2
    final = user.get(path)
    assert (final["name"], final["promptIds"]) == ("new", ["q", "r"])


@pytest.mark.parametrize("_", range(3))
def test_no_change_of_a_job_is_lost(
    http: httpx2.Client, user: ApiUser, _: int
) -> None:
    job = user.job(user.model(), user.prompt())
    path = f"/jobs/{job['jobId']}/full"
    fields = {
        "priority": 7,
        "operation": "new",
        "clientReference": {"k": "v"},
        "requestData": {"n": 1},
        "temperature": 0.5,
        "id": "mine",
    }
    answers = at_once(
        [
            patching(http, path, user.headers, {name: value})
            for name, value in fields.items()
        ]
    )
    assert [status for status, _ in answers] == [200] * len(fields)
    final = user.get(f"/jobs/{job['jobId']}")
    assert {name: final[name] for name in fields} == fields


def test_a_job_is_cancelled_once(http: httpx2.Client, user: ApiUser) -> None:
    job = user.job(user.model(), user.prompt())
    path, body = f"/jobs/{job['jobId']}", {"status": "CANCELED"}
    answers = at_once([patching(http, path, user.headers, body)] * 8)
    statuses = sorted(status for status, _ in answers)
    assert statuses[0] == 200
    assert set(statuses[1:]) <= {400, 409}


def test_a_worker_is_started_once(http: httpx2.Client, user: ApiUser) -> None:
    config = {"pollInterval": 3600, "maxItemsPerBatch": 1}
    body = {"workerId": unique("w"), "config": config}
    path = f"/workers/{user.post('/workers', body)['workerId']}/start"

    def start() -> tuple[int, Any]:
        response = http.post(path, headers=user.headers)
        return response.status_code, response.json()

    statuses = sorted(status for status, _ in at_once([start] * 8))
    assert statuses[0] == 200
    assert set(statuses[1:]) <= {400, 409}


def test_batches_that_change_the_same_jobs_do_not_mix(
    http: httpx2.Client, user: ApiUser
) -> None:
    body = user.job_body(user.model(), user.prompt())
    made = user.post("/jobs/batch", {"jobs": [body] * 40})
    ids = [job["jobId"] for job in made]
    bodies = [
        {
            "jobs": [
                {"jobId": i, "priority": n, "operation": f"o{n}"} for i in x
            ]
        }
        for n, x in ((1, ids), (2, ids[::-1]), (3, ids), (4, ids[20:]))
    ]
    answers = at_once(
        [patching(http, "/jobs/batch", user.headers, b) for b in bodies]
    )
    assert {status for status, _ in answers} <= {200, 409}
    whole = [n for n in (0, 1, 2) if answers[n][0] == 200]
    jobs = {job["jobId"]: job for job in user.get("/jobs")}
    first = {jobs[i]["priority"] for i in ids[:20]}
    assert len(first) == 1
    assert first <= ({n + 1 for n in whole} or {100})
    assert len({jobs[i]["priority"] for i in ids[20:]}) == 1
    for job in jobs.values():
        if job["priority"] != 100:
            assert job["operation"] == f"o{job['priority']}"


def test_a_batch_and_single_changes_do_not_mix(
    http: httpx2.Client, user: ApiUser
) -> None:
    body = user.job_body(user.model(), user.prompt())
    made = user.post("/jobs/batch", {"jobs": [body] * 60})
    ids = [job["jobId"] for job in made]
    cancel = {"jobs": [{"jobId": i, "status": "CANCELED"} for i in ids]}
    singles = [
        patching(http, f"/jobs/{i}/full", user.headers, {"priority": 3})
        for i in ids[::10]
    ]
    batch = patching(http, "/jobs/batch", user.headers, cancel)
    (status, _), *others = at_once([batch, *singles])
    assert {code for code, _ in others} == {200}
    counts = user.get("/jobs/summary")
    expected = {200: ("CANCELED", 60), 409: ("PENDING", 60)}[status]
    assert counts[expected[0]] == expected[1]
    jobs = {job["jobId"]: job for job in user.get("/jobs")}
    assert {jobs[i]["priority"] for i in ids[::10]} == {3}
