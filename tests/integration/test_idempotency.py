"""`Idempotency-Key`: the same request again, and another one."""

from typing import Any

import pytest

from tests.support.api_user import ApiUser, unique

REUSED = {
    "type": "idempotency_key_reused",
    "loc": ["header", "Idempotency-Key"],
    "msg": "This Idempotency-Key was already used for another request; use "
    "a new key for a new request",
}


@pytest.fixture
def body(user: ApiUser) -> dict[str, Any]:
    return user.job_body(user.model(), user.prompt())


def header(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


def test_the_same_request_again_answers_the_first_job(
    user: ApiUser, body: dict[str, Any]
) -> None:
    key = header(unique("k"))
    body["requestData"] = {"a": 1, "b": {"x": [1], "y": 2}}
    first = user.post("/jobs", body, **key)
    # Other ways to write the same.
    again = dict(reversed(body.items()))
    again["requestData"] = {"b": {"y": 2, "x": [1]}, "a": 1}
    again["responseFormat"] = "json"
    again["request_data"] = again.pop("requestData")
    assert user.post("/jobs", again, **key)["jobId"] == first["jobId"]
    assert len(user.get("/jobs")) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0.5},
        {"requestData": {"text": "another"}},
        {"clientReference": {"a": 1}},
        {"priority": 7},
    ],
)
def test_another_request_is_refused(
    user: ApiUser, body: dict[str, Any], change: dict[str, Any]
) -> None:
    key = header(unique("k"))
    user.post("/jobs", body, **key)
    answer = user.post("/jobs", {**body, **change}, 422, **key)
    assert answer["detail"] == [REUSED]
    assert len(user.get("/jobs")) == 1


def test_a_change_of_the_job_does_not_change_the_request(
    user: ApiUser, body: dict[str, Any]
) -> None:
    key = header(unique("k"))
    job = user.post("/jobs", body, **key)
    user.patch(f"/jobs/{job['jobId']}/full", {"priority": 3})
    assert user.post("/jobs", body, **key)["priority"] == 3


def test_clients_do_not_share_keys(
    user: ApiUser, body: dict[str, Any]
) -> None:
    other = ApiUser(user.http)
    key = header(unique("k"))
    user.post("/jobs", body, **key)
    other.post("/jobs", other.job_body(other.model(), other.prompt()), **key)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_key_of_a_job_is_no_item_of_a_batch(
    user: ApiUser, body: dict[str, Any], position: int
) -> None:
    key = unique("k")
    batch = user.post("/jobs/batch", {"jobs": [body] * 3}, **header(key))
    single = user.post("/jobs", body, **header(f"{key}/{position}"))
    assert single["jobId"] not in [job["jobId"] for job in batch]
    again = user.post("/jobs", body, **header(f"{key}/{position}"))
    assert again["jobId"] == single["jobId"]


def test_a_batch_again(user: ApiUser, body: dict[str, Any]) -> None:
    key = header(unique("k"))
    jobs = [{**body, "priority": n} for n in range(1, 4)]
    first = user.post("/jobs/batch", {"jobs": jobs}, **key)
    again = user.post("/jobs/batch", {"jobs": jobs}, **key)
    assert again == first
    for others in (jobs[:2], [*jobs, body], list(reversed(jobs)), [body] * 3):
        answer = user.post("/jobs/batch", {"jobs": others}, 422, **key)
        assert answer["detail"] == [REUSED]
    assert len(user.get("/jobs")) == 3


def test_an_item_with_a_key_of_its_own(
    user: ApiUser, body: dict[str, Any]
) -> None:
    key = unique("k")
    single = user.post("/jobs", body, **header(key))
    keyed = {**body, "idempotencyKey": key}
    same = user.post("/jobs/batch", {"jobs": [keyed]})
    assert same[0]["jobId"] == single["jobId"]
    other = {"jobs": [body, {**keyed, "priority": 1}]}
    assert user.post("/jobs/batch", other, 422)["detail"] == [REUSED]
    assert len(user.get("/jobs")) == 1
