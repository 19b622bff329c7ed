import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from tests.support.api_user import ADMIN, ApiUser, unique

ANSWER_FIELDS = {
    "jobId",
    "clientId",
    "id",
    "operation",
    "prompts",
    "workingPrompts",
    "model",
    "temperature",
    "priority",
    "requestData",
    "clientReference",
    "evalPrompt",
    "evalModel",
    "metaPrompt",
    "metaModel",
    "status",
    "responseData",
    "processingMetrics",
    "evalResult",
    "suggestedPromptId",
    "errorData",
    "_metadata",
}


@pytest.fixture
def body(user: ApiUser) -> dict[str, Any]:
    return user.job_body(user.model(), user.prompt())


@pytest.fixture
def other(http: httpx2.Client) -> ApiUser:
    return ApiUser(http)


def test_a_job_answers_everything_it_was_given(
    user: ApiUser, body: dict[str, Any]
) -> None:
    sent = {
        **body,
        "id": "my-own",
        "temperature": 0.25,
        "priority": 7,
        "clientReference": {"order": {"no": 12}},
    }
    job = user.post("/jobs", sent)
    assert set(job) >= ANSWER_FIELDS
    assert {name: job[name] for name in sent} == sent
    assert job["status"] == "PENDING"
    assert job["clientId"] == user.client_id
    found = user.get(f"/jobs/{job['jobId']}")
    assert found.pop("waitingFor")["kind"] == "NO_WORKER"
    assert job.pop("waitingFor") is None
    assert found == job


def test_prompts_is_the_deprecated_name_and_working_prompts_wins(
    user: ApiUser, body: dict[str, Any]
) -> None:
    second = user.prompt()
    old = {**body, "prompts": body["workingPrompts"], "workingPrompts": None}
    job = user.post("/jobs", old)
    assert job["prompts"] == job["workingPrompts"] == old["prompts"]
    both = user.post("/jobs", {**body, "prompts": [second]})
    assert both["prompts"] == [second]
    assert both["workingPrompts"] == body["workingPrompts"]


HOSTILE = {
    "$where": "1",
    "a.b": {"$gt": ""},
    "": {"": []},
    "big": 2**80,
    "float": 1.5e300,
    "text": "\u0000 \U0001f600 \u2028",
    "deep": {"a": {"b": {"c": [[[1]]]}}},
}


def test_request_data_comes_back_as_it_was(
    user: ApiUser, body: dict[str, Any]
) -> None:
    job = user.post("/jobs", {**body, "requestData": HOSTILE})
    assert user.get(f"/jobs/{job['jobId']}")["requestData"] == HOSTILE


def test_ten_megabytes_of_request_data_are_taken(
    user: ApiUser, body: dict[str, Any]
) -> None:
    data = {"text": "x" * 10_000_000}
    job = user.post("/jobs", {**body, "requestData": data})
    assert user.get(f"/jobs/{job['jobId']}")["requestData"] == data


def test_more_than_a_document_can_hold_is_refused_clearly(
    user: ApiUser, body: dict[str, Any]
) -> None:
    data = {"text": "x" * 13_000_000}
    answer = user.post("/jobs", {**body, "requestData": data}, 422)
    assert "the limit is" in answer["detail"][0]["msg"]
    assert len(json.dumps(answer)) < 1000
    data = {"text": "x" * 34_000_000}
    answer = user.post("/jobs", {**body, "requestData": data}, 413)
    assert "limit" in answer["detail"]


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 2.1},
        {"temperature": -0.1},
        {"priority": 0},
        {"priority": 1001},
        {"requestData": None},
        {"requestData": "text"},
        {"requestData": [1]},
        {"workingPrompts": []},
        {"workingPrompts": None},
        {"operation": None},
        {"model": None},
        {"clientReference": "x"},
    ],
)
def test_a_job_that_fails_its_schema_is_422(
    user: ApiUser, body: dict[str, Any], change: dict[str, Any]
) -> None:
    answer = user.post("/jobs", {**body, **change}, 422)
    assert {"loc", "msg", "type"} <= set(answer["detail"][0])


@pytest.mark.parametrize(
    "raw", ['{"a": NaN}', '{"a": "\\ud800"}', "[" * 150 + "]" * 150]
)
def test_what_is_not_quite_json_is_422(
    user: ApiUser, body: dict[str, Any], raw: str
) -> None:
    text = json.dumps({**body, "requestData": "#"}).replace('"#"', raw)
    headers = {**user.headers, "content-type": "application/json"}
    user.request("POST", "/jobs", 422, content=text, headers=headers)


@pytest.mark.parametrize(
    ("field", "word"),
    [
        ("model", "model"),
        ("evalModel", "model"),
        ("metaModel", "model"),
        ("evalPrompt", "prompt"),
        ("metaPrompt", "prompt"),
        ("workingPrompts", "prompt"),
    ],
)
def test_what_a_job_names_must_exist(
    user: ApiUser, body: dict[str, Any], field: str, word: str
) -> None:
    unknown: Any = "0" * 24
    if field == "workingPrompts":
        unknown = [unknown]
    answer = user.post("/jobs", {**body, field: unknown}, 400)
    assert word in answer["detail"]


def test_another_clients_prompt_cannot_be_used(
    user: ApiUser, other: ApiUser, body: dict[str, Any]
) -> None:
    theirs = {**body, "workingPrompts": [other.prompt()]}
    assert "prompt" in user.post("/jobs", theirs, 400)["detail"]


def test_a_model_may_be_named_by_its_id(
    user: ApiUser, http: httpx2.Client, body: dict[str, Any]
) -> None:
    models = http.get("/models?limit=1000", headers=ADMIN).json()
    by_name = {model["name"]: model["model_id"] for model in models}
    job = user.post("/jobs", {**body, "model": by_name[body["model"]]})
    user.worker()
    assert user.ended(job["jobId"])["status"] == "PROCESSED"


def test_the_same_idempotency_key_answers_the_first_job(
    user: ApiUser, other: ApiUser, body: dict[str, Any]
) -> None:
    key = {"Idempotency-Key": "k1"}
    first = user.post("/jobs", body, **key)
    assert user.post("/jobs", body, **key) == first
    user.post("/jobs", {**body, "operation": "changed"}, 422, **key)
    assert len(user.get("/jobs")) == 1
    theirs = {**body, "workingPrompts": [other.prompt()]}
    assert other.post("/jobs", theirs, **key)["jobId"] != first["jobId"]
    user.delete(f"/jobs/{first['jobId']}")
    user.post("/jobs", body, 409, **key)


def test_one_key_sent_many_times_at_once_makes_one_job(
    user: ApiUser, body: dict[str, Any]
) -> None:
    key = {"Idempotency-Key": "k2"}
    with ThreadPoolExecutor(8) as threads:
        jobs = list(
            threads.map(lambda _: user.post("/jobs", body, **key), range(16))
        )
    assert len({job["jobId"] for job in jobs}) == 1
    assert user.get("/jobs/summary")["total"] == 1


def test_a_batch_is_stored_in_its_order(
    user: ApiUser, body: dict[str, Any]
) -> None:
    items = [{**body, "id": str(number)} for number in range(1200)]
    made = user.post("/jobs/batch", {"jobs": items})
    assert [job["id"] for job in made] == [item["id"] for item in items]
    listed = user.get("/jobs", limit=1000)
    assert [job["id"] for job in listed] == [
        str(number) for number in range(1000)
    ]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"temperature": 5}, ["temperature"]),
        ({"model": "no-such-model"}, ["model"]),
        ({"workingPrompts": ["0" * 24]}, ["prompt"]),
        ({"requestData": None}, ["requestData"]),
    ],
)
def test_a_batch_whose_500th_item_is_bad_stores_nothing(
    user: ApiUser, body: dict[str, Any], bad: dict[str, Any], words: list[str]
) -> None:
    items = [body] * 499 + [{**body, **bad}]
    answer = user.post("/jobs/batch", {"jobs": items}, 400)
    for word in ("batch", "499", *words):
        assert word in answer["detail"]
    assert user.get("/jobs/summary")["total"] == 0


def test_a_batch_may_name_as_many_things_as_it_has_jobs(
    user: ApiUser, body: dict[str, Any]
) -> None:
    jobs = [
        {
            **body,
            "model": f"no such model {n}",
            "workingPrompts": [f"{n:024x}", f"{n + 5000:024x}"],
        }
        for n in range(3000)
    ]
    answer = user.post("/jobs/batch", {"jobs": jobs}, 400)
    assert "batch item 0: the model 'no such model 0'" in answer["detail"]
    for job in jobs:
        job["model"] = body["model"]
    answer = user.post("/jobs/batch", {"jobs": jobs}, 400)
    assert "batch item 0: the prompt" in answer["detail"]


def test_a_batch_sent_again_with_its_key_makes_nothing_new(
    user: ApiUser, body: dict[str, Any]
) -> None:
    key = {"Idempotency-Key": "batch"}
    first = user.post("/jobs/batch", {"jobs": [body] * 10}, **key)
    again = user.post("/jobs/batch", {"jobs": [body] * 10}, **key)
    assert again == first
    assert user.get("/jobs/summary")["total"] == 10


def test_items_of_a_batch_may_carry_their_own_keys(
    user: ApiUser, body: dict[str, Any]
) -> None:
    items = [{**body, "idempotencyKey": f"i{n}"} for n in range(4)]
    first = user.post("/jobs/batch", {"jobs": items[:3]})
    second = user.post("/jobs/batch", {"jobs": items[1:]})
    assert second[:2] == first[1:]
    assert user.get("/jobs/summary")["total"] == 4


def test_a_clients_reference_finds_its_jobs(
    user: ApiUser, body: dict[str, Any]
) -> None:
    references = [
        {"run": "a", "n": 1},
        {"run": "a", "n": "1"},
        {"run": "b", "n": 1, "nested": {"x.y": True}},
        {"$where": "1==1", "run": {"$ne": None}},
    ]
    for reference in references:
        user.post("/jobs", {**body, "clientReference": reference})

    def found(**query: str) -> list[Any]:
        query = {f"clientReference.{k}": v for k, v in query.items()}
        listed = user.get("/jobs", **query)
        assert user.get("/jobs/summary", **query)["total"] == len(listed)
        return [job["clientReference"] for job in listed]

    assert found(run="a") == references[:2]
    assert found(n="1", run="b") == [references[2]]
    assert found(**{"nested.x.y": "true"}) == [references[2]]
    assert found(**{"$where": "1==1"}) == [references[3]]
    assert found(**{"run.$ne": "null"}) == [references[3]]
    assert found(**{"$ne": "x"}) == []
    assert found(run="") == []


@pytest.mark.parametrize("own_id", ["42", "0" * 24, "a b", "1.5"])
def test_a_clients_own_id_is_a_text(
    user: ApiUser, body: dict[str, Any], own_id: str
) -> None:
    job = user.post("/jobs", {**body, "id": own_id})
    user.post("/jobs", {**body, "id": f"{own_id}0"})
    listed = user.get("/jobs", id=own_id)
    assert [each["jobId"] for each in listed] == [job["jobId"]]
    assert user.get("/jobs/summary", id=own_id)["total"] == 1


def test_lists_are_narrowed_by_every_filter(
    user: ApiUser, body: dict[str, Any]
) -> None:
    operation = unique("op")
    job = user.post(
        "/jobs", {**body, "operation": operation, "priority": 3, "id": "x"}
    )
    user.post("/jobs", body)
    for query in (
        {"jobId": job["jobId"]},
        {"operation": operation},
        {"priority": 3},
        {"operation": operation, "model": body["model"], "status": "PENDING"},
    ):
        listed = user.request("GET", "/jobs", 200, params=query)
        assert [each["jobId"] for each in listed] == [job["jobId"]]
    assert user.get("/jobs", jobId="nonsense") == []
    assert user.get("/jobs/summary", id="x")["total"] == 1
    assert user.request("GET", "/jobs?status=CANCELED", 200) == []
    user.request("GET", "/jobs?status=NOPE", 422)
    user.get("/jobs", 422, limit=0)
    user.get("/jobs", 422, limit=10_001)


def test_pages_of_jobs_are_stable_while_jobs_arrive(
    user: ApiUser, body: dict[str, Any], http: httpx2.Client
) -> None:
    items = [{**body, "id": str(number)} for number in range(25)]
    user.post("/jobs/batch", {"jobs": items})
    seen, cursor = [], None
    while True:
        query = {"limit": 10} | ({"cursor": cursor} if cursor else {})
        page = http.get("/jobs", headers=user.headers, params=query)
        seen += [job["id"] for job in page.json()]
        user.post("/jobs", {**body, "id": "late"})
        cursor = page.headers.get("X-Next-Cursor")
        if cursor is None or len(seen) >= 25:
            break
    assert seen[:25] == [item["id"] for item in items]


def test_another_clients_job_does_not_exist(
    user: ApiUser, other: ApiUser, body: dict[str, Any]
) -> None:
    job_id = user.post("/jobs", body)["jobId"]
    unknown = other.get(f"/jobs/{'0' * 24}", 404)
    path = f"/jobs/{job_id}"
    assert other.get(path, 404) == unknown
    assert other.patch(path, {"status": "CANCELED"}, 404) == unknown
    assert other.patch(f"{path}/full", {"priority": 1}, 404) == unknown
    assert other.delete(path, status=404) == unknown
    items = {"jobs": [{"jobId": job_id, "status": "CANCELED"}]}
    answer = other.patch("/jobs/batch", items, 400)
    assert "Job not found" in answer["detail"]
    other.delete("/jobs/batch", {"jobIds": [job_id]}, 400)
    assert other.get("/jobs/summary")["total"] == 0
    assert user.get(path)["status"] == "PENDING"


def test_the_administrator_sees_and_changes_every_job(
    user: ApiUser, body: dict[str, Any], http: httpx2.Client
) -> None:
    job_id = user.post("/jobs", body)["jobId"]
    path = f"/jobs/{job_id}"
    assert http.get(path, headers=ADMIN).status_code == 200
    changed = http.patch(
        f"{path}/full", headers=ADMIN, json={"status": "ERROR_PROCESSING"}
    )
    assert changed.json()["status"] == "ERROR_PROCESSING"
    assert http.get("/jobs", headers=ADMIN).status_code == 200


def test_a_client_follows_the_table_of_transitions(
    user: ApiUser, body: dict[str, Any]
) -> None:
    path = f"/jobs/{user.post('/jobs', body)['jobId']}"
    for status in ("PROCESSED", "PROCESSING", "CONSUMED", "ERROR_PROCESSING"):
        answer = user.patch(path, {"status": status}, 400)
        assert "transition" in answer["detail"]
    assert user.patch(path, {"status": "CANCELED"})["status"] == "CANCELED"
    user.patch(path, {"status": "PENDING"}, 400)
    user.patch(f"{path}/full", {"status": "PENDING"}, 400)


def test_any_field_can_be_changed_in_full(
    user: ApiUser, body: dict[str, Any]
) -> None:
    path = f"/jobs/{user.post('/jobs', body)['jobId']}/full"
    model = user.model()
    changes = {
        "operation": "other",
        "model": model,
        "priority": 1,
        "requestData": {"$set": 1},
        "clientReference": {"k": "v"},
        "responseData": {"by": "hand"},
        "processingMetrics": {"inputTokens": 5},
    }
    changed = user.patch(path, changes)
    for name in changes.keys() - {"processingMetrics"}:
        assert changed[name] == changes[name]
    assert changed["processingMetrics"]["inputTokens"] == 5
    listed = user.get("/jobs", **{"clientReference.k": "v"})
    assert [job["jobId"] for job in listed] == [changed["jobId"]]
    assert "model" in user.patch(path, {"model": "nope"}, 400)["detail"]
    user.patch(path, {"temperature": 7}, 422)


def test_a_batch_of_changes_is_all_or_nothing(
    user: ApiUser, body: dict[str, Any]
) -> None:
    made = user.post("/jobs/batch", {"jobs": [body] * 3})
    ids = [job["jobId"] for job in made]
    cancel = [{"jobId": job_id, "status": "CANCELED"} for job_id in ids]
    bad = [*cancel[:2], {"jobId": ids[2], "status": "CONSUMED"}]
    answer = user.patch("/jobs/batch", {"jobs": bad}, 400)
    assert "transition" in answer["detail"]
    unknown = [*cancel, {"jobId": "0" * 24, "priority": 1}]
    answer = user.patch("/jobs/batch", {"jobs": unknown}, 400)
    assert "Job not found" in answer["detail"]
    assert user.get("/jobs/summary")["PENDING"] == 3
    changed = user.patch("/jobs/batch", {"jobs": cancel})
    assert [job["status"] for job in changed] == ["CANCELED"] * 3


def test_a_batch_is_deleted_as_a_whole(
    user: ApiUser, body: dict[str, Any]
) -> None:
    made = user.post("/jobs/batch", {"jobs": [body] * 3})
    ids = [job["jobId"] for job in made]
    user.delete("/jobs/batch", {"jobIds": [*ids, "nonsense"]}, 400)
    assert user.get("/jobs/summary")["total"] == 3
    user.delete("/jobs/batch", {"jobIds": ids})
    assert user.get("/jobs") == []
    assert user.get("/jobs/summary")["total"] == 0
    user.get(f"/jobs/{ids[0]}", 404)


def test_a_summary_sums_costs_only_in_one_currency(user: ApiUser) -> None:
    prompt = user.prompt()
    euro = {"tokens": 1, "currency": "EUR", "input": 1, "output": 1}
    models = [user.model(), user.model(cost=euro)]
    user.worker()
    done = user.ended(user.job(models[0], prompt)["jobId"])
    metrics = user.get("/jobs/summary")["processingMetrics"]
    assert metrics["currency"] == "USD"
    assert metrics["totalCost"] == pytest.approx(
        done["processingMetrics"]["totalCost"]
    )
    second = user.ended(user.job(models[1], prompt)["jobId"])
    user.patch(f"/jobs/{second['jobId']}", {"status": "CONSUMED"})
    summary = user.get("/jobs/summary")
    assert (summary["PROCESSED"], summary["CONSUMED"]) == (1, 1)
    metrics = summary["processingMetrics"]
    assert metrics["totalCost"] is metrics["currency"] is None
    assert set(metrics["costByCurrency"]) == {"EUR", "USD"}
    assert metrics["inputTokens"] == sum(
        job["processingMetrics"]["inputTokens"] for job in (done, second)
    )
    only = user.get("/jobs/summary", model=models[1])["processingMetrics"]
    assert only["currency"] == "EUR"
