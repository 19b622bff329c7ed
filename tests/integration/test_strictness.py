"""A name that nobody knows is refused, and the nearest known one is told."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.support.api_user import ADMIN, ApiUser, unique
from tests.support.live_server import live_server, make_settings

MODEL = {
    "name": "m",
    "sdk": "test",
    "maxToken": 1,
    "cost": {"input": 1, "output": 1},
}
JOB = {
    "operation": "o",
    "workingPrompts": ["p"],
    "model": "m",
    "requestData": {},
}
ID = "665f1c2ab7e4d90012345678"
# Method, path, body, the unknown field's way, the message.
UNKNOWN_FIELDS: list[tuple[str, str, dict[str, Any], list[Any], str]] = [
    (
        "POST",
        "/jobs",
        {**JOB, "temprature": 0},
        ["temprature"],
        "Unknown field 'temprature'; did you mean 'temperature'?",
    ),
    (
        "POST",
        "/jobs",
        {**JOB, "work_prompts": []},
        ["work_prompts"],
        "Unknown field 'work_prompts'; did you mean 'workingPrompts'?",
    ),
    (
        "POST",
        "/jobs",
        {**JOB, "qqqqqq": 1},
        ["qqqqqq"],
        "Unknown field 'qqqqqq'",
    ),
    (
        "PATCH",
        f"/jobs/{ID}",
        {"status": "CANCELED", "state": 1},
        ["state"],
        "Unknown field 'state'; did you mean 'status'?",
    ),
    (
        "PATCH",
        f"/jobs/{ID}/full",
        {"processingMetrics": {"inputToken": 1}},
        ["processingMetrics", "inputToken"],
        "Unknown field 'inputToken'; did you mean 'inputTokens'?",
    ),
    (
        "PATCH",
        "/jobs/batch",
        {"jobs": [{"jobId": ID}, {"jobId": ID, "prio": 1}]},
        ["jobs", 1, "prio"],
        "Unknown field 'prio'; did you mean 'priority'?",
    ),
    (
        "DELETE",
        "/jobs/batch",
        {"jobIds": [ID], "force": True},
        ["force"],
        "Unknown field 'force'",
    ),
    (
        "POST",
        "/models",
        {**MODEL, "cost": {"input": 1, "output": 1, "curency": "USD"}},
        ["cost", "curency"],
        "Unknown field 'curency'; did you mean 'currency'?",
    ),
    (
        "POST",
        "/models",
        {**MODEL, "resilience": {"retry": {"maxAttempt": 2}}},
        ["resilience", "retry", "maxAttempt"],
        "Unknown field 'maxAttempt'; did you mean 'maxAttempts'?",
    ),
    (
        "POST",
        "/workers",
        {"workerId": "w", "config": {"pollIntervall": 2}},
        ["config", "pollIntervall"],
        "Unknown field 'pollIntervall'; did you mean 'pollInterval'?",
    ),
    (
        "PATCH",
        f"/workers/{ID}",
        {"config": {"modelfilters": "m"}},
        ["config", "modelfilters"],
        "Unknown field 'modelfilters'; did you mean 'modelFilter'?",
    ),
    (
        "POST",
        "/stream",
        {"userPrompt": "x", "model": "m", "additionalPrompt": []},
        ["additionalPrompt"],
        "Unknown field 'additionalPrompt'; did you mean 'additionalPrompts'?",
    ),
    (
        "POST",
        "/runs",
        {"maxIteration": 1},
        ["maxIteration"],
        "Unknown field 'maxIteration'; did you mean 'maxIterations'?",
    ),
    (
        "POST",
        "/clients",
        {"name": "n", "enabledd": True},
        ["enabledd"],
        "Unknown field 'enabledd'",
    ),
    (
        "POST",
        "/prompts",
        {"name": "n", "Type": "t"},
        ["Type"],
        "Unknown field 'Type'; did you mean 'type'?",
    ),
    (
        "POST",
        "/prompt-flows",
        {"name": "n", "prompts": ["p"]},
        ["prompts"],
        "Unknown field 'prompts'; did you mean 'promptIds'?",
    ),
]
LISTS = {
    "/jobs": "statuz",
    "/jobs/summary": "statuz",
    "/prompts": "nam",
    "/prompt-flows": "limits",
    "/models": "curser",
    "/workers": "limt",
    "/workers/summary": "modelFiltr",
    "/runs": "Status",
    "/stream": "form",
    "/stream/summary": "form",
    "/stream/analytics": "too",
}


@pytest.fixture(scope="module")
def lenient(
    database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx2.Client]:
    """A service for old clients that send more than is known."""
    settings = make_settings(
        tmp_path_factory.mktemp("lenient"), unknown_fields="ignore"
    )
    with (
        live_server(settings, database, {}, run_workers=False) as running,
        httpx2.Client(base_url=running.url) as client,
    ):
        yield client


@pytest.mark.parametrize(
    ("method", "path", "body", "way", "message"), UNKNOWN_FIELDS
)
def test_an_unknown_field_is_refused(
    user: ApiUser,
    method: str,
    path: str,
    body: dict[str, Any],
    way: list[Any],
    message: str,
) -> None:
    by_admin = path.startswith(("/models", "/clients"))
    answer = user.http.request(
        method, path, json=body, headers=ADMIN if by_admin else user.headers
    )
    assert answer.status_code == 422, answer.text
    problem = answer.json()["detail"][0]
    assert problem == {
        "type": "extra_forbidden",
        "loc": ["body", *way],
        "msg": message,
    }


@pytest.mark.parametrize("path", LISTS)
def test_an_unknown_query_parameter_is_refused(
    user: ApiUser, path: str
) -> None:
    name = LISTS[path]
    (problem,) = user.get(path, 422, **{name: "x"})["detail"]
    assert problem["type"] == "extra_forbidden"
    assert problem["loc"] == ["query", name]
    assert f"Unknown query parameter '{name}'; did you mean" in problem["msg"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/jobs"),
        ("GET", f"/jobs/{ID}"),
        ("DELETE", f"/jobs/{ID}"),
        ("POST", f"/workers/{ID}/start"),
        ("PATCH", f"/runs/{ID}/pause"),
    ],
)
def test_paths_without_a_query_take_none(
    user: ApiUser, method: str, path: str
) -> None:
    answer = user.http.request(
        method, path, params={"dryRun": "1"}, headers=user.headers
    )
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", "dryRun"]


def test_who_is_calling_comes_first(http: httpx2.Client) -> None:
    for answer in (
        http.get("/jobs", params={"statuz": "x"}),
        http.post("/jobs", json={"temprature": 0}),
        http.post("/jobs", content=b"\xff{", params={"x": "1"}),
    ):
        assert answer.status_code == 401, answer.text


@pytest.mark.parametrize(
    "path", ["/prompts", "/prompt-flows", "/models", "/workers", "/runs"]
)
def test_a_filter_by_reference_stands_only_where_it_works(
    user: ApiUser, path: str
) -> None:
    user.get(path, 422, **{"clientReference.a": "1"})
    user.get(path, 422, clientReference="1")


def test_pages_and_references_are_known(user: ApiUser) -> None:
    user.get("/jobs", **{"limit": 1, "clientReference.a": "1"})
    user.get("/stream", **{"limit": 1, "clientReference.a": "1"})
    user.get("/workers/summary", **{"clientReference.a": "1"})
    user.get("/prompts", limit=1)


def test_free_objects_may_hold_any_name(user: ApiUser) -> None:
    free = {"temprature": {"cost": {"curency": 1}}}
    job = user.job(
        user.model(),
        user.prompt(),
        requestData=free,
        clientReference=free,
        responseSchema={"type": "object", "x-temprature": free},
    )
    assert job["requestData"] == free


def test_the_other_spelling_of_a_field_is_taken(user: ApiUser) -> None:
    body = user.job_body(user.model(), user.prompt())
    body["request_data"] = body.pop("requestData")
    body["working_prompts"] = body.pop("workingPrompts")
    assert user.post("/jobs", body)["requestData"] == body["request_data"]


def test_a_batch_names_the_item(user: ApiUser) -> None:
    good = user.job_body(user.model(), user.prompt())
    body = {"jobs": [good, {**good, "temprature": 0}]}
    detail = user.post("/jobs/batch", body, 400)["detail"]
    assert detail == (
        "batch item 1: temprature: Unknown field 'temprature'; did you mean "
        "'temperature'?; nothing was stored"
    )
    assert user.get("/jobs") == []


def test_unknown_fields_come_with_the_other_problems(user: ApiUser) -> None:
    body = {**JOB, "temperature": 7, "temprature": 0}
    detail = user.post("/jobs", body, 422)["detail"]
    assert [each["loc"][1] for each in detail] == ["temprature", "temperature"]


def test_the_list_of_unknown_fields_is_short(user: ApiUser) -> None:
    body = {f"x{n}": n for n in range(10_000)}
    answer = user.http.post("/clients", json=body, headers=ADMIN)
    assert answer.status_code == 422
    assert len(answer.json()["detail"]) < 50


def test_old_clients_may_send_more_where_the_setting_says_so(
    lenient: httpx2.Client,
) -> None:
    user = ApiUser(lenient)
    good = user.job_body(user.model(), user.prompt())
    user.post("/jobs", {**good, "temprature": 0})
    user.post("/jobs/batch", {"jobs": [{**good, "temprature": 0}]})
    assert len(user.get("/jobs", statuz="PENDING")) == 2
    user.worker(start=False, pollIntervall=7)
    user.model(
        name=unique("m"), resilience={"retry": {"maxAttempt": 2}}, colour=1
    )
