"""`/evaluations`, through the interface, with workers and a provider."""

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from aiohttp import web

from tests.conftest import PROVIDER_KEY
from tests.integration.test_workers import provider_model
from tests.support.api_user import ApiUser
from tests.support.fake_provider import FakeProvider, completion, failure
from tests.support.processes import service_process
from tests.support.waiting import eventually

EXACT = {"type": "exact"}
LABELS = ("neg", "pos")


def expected(number: int) -> str:
    return LABELS[number % 2]


async def labelled(body: dict[str, Any]) -> web.StreamResponse:
    """Answer right by a good prompt, mostly wrong by a bad one."""
    system = body["messages"][0]["content"]
    asked = json.loads(body["messages"][-1]["content"])
    if system == "judge":
        right = asked["answer"]["label"] == asked["expected"]
        return completion(json.dumps({"score": int(right)}), tokens=(10, 1))
    number = int(asked["n"])
    if system == "fails" and number == 3:
        return failure(400, "refused")
    wrong = system == "bad" and number % 5
    label = "odd" if wrong else expected(number)
    return completion(json.dumps({"label": label}), tokens=(10, 1))


@pytest.fixture
def model(user: ApiUser, provider: FakeProvider) -> str:
    provider.handler = labelled
    return provider_model(user, provider)


def dataset(user: ApiUser, count: int = 20) -> str:
    items = [
        {"id": f"i{n}", "requestData": {"n": n}, "expected": expected(n)}
        for n in range(count)
    ]
    made = user.post("/datasets", {"name": "d", "items": items})
    return str(made["datasetId"])


def body_of(
    dataset_id: str, prompts: list[str], models: list[str], **fields: Any
) -> dict[str, Any]:
    return {
        "datasetId": dataset_id,
        "promptIds": prompts,
        "models": models,
        "metric": EXACT,
        **fields,
    }


def ended(user: ApiUser, evaluation_id: str) -> Any:
    found = user.get(f"/evaluations/{evaluation_id}", wait=30)
    assert found["status"] != "RUNNING", found
    return found


def evaluated(user: ApiUser, body: dict[str, Any]) -> Any:
    return ended(user, user.post("/evaluations", body)["evaluationId"])


def test_prompts_are_scored_and_compared(user: ApiUser, model: str) -> None:
    prompts = [user.prompt("bad"), user.prompt("good")]
    body = body_of(dataset(user), prompts, [model], seed=1)
    made = user.post("/evaluations", body)
    assert made["status"] == "RUNNING"
    assert made["progress"] == {"total": 40, "done": 0, "errors": 0}
    assert {name: made[name] for name in body if name != "metric"} == {
        name: body[name] for name in body if name != "metric"
    }
    user.worker()
    done = ended(user, made["evaluationId"])
    assert done["status"] == "COMPLETED"
    assert done["progress"] == {"total": 40, "done": 40, "errors": 0}
    bad, good = done["results"]
    assert (bad["promptId"], bad["model"]) == (prompts[0], model)
    assert (bad["score"], good["score"]) == (0.2, 1.0)
    assert (good["count"], good["errors"]) == (20, 0)
    assert good["interval"][0] > 0.8
    assert good["classes"] == [
        {"label": label, "count": 10, "precision": 1, "recall": 1, "f1": 1}
        for label in LABELS
    ]
    assert bad["confusion"] == {
        "rows": ["neg", "pos"],
        "columns": ["neg", "pos", "(other)"],
        "counts": [[2, 0, 8], [0, 2, 8]],
    }
    assert good["processingMetrics"]["inputTokens"] == 200
    assert good["processingMetrics"]["totalCost"] == pytest.approx(0.24)
    assert good["latency"]["p99"] >= good["latency"]["p50"] > 0
    (compared,) = done["comparisons"]
    assert compared["first"] == {"promptId": prompts[0], "model": model}
    assert compared["difference"] == 0.8
    assert compared["verdict"] == "improved"
    assert compared["pValue"] == compared["adjustedPValue"] < 0.001
    assert done["jobsUsed"] == 40
    assert done["processingMetrics"]["totalCost"] == pytest.approx(0.48)


def test_the_scores_of_items_are_listed(user: ApiUser, model: str) -> None:
    prompts = [user.prompt("good"), user.prompt("bad")]
    user.worker()
    done = evaluated(user, body_of(dataset(user, 6), prompts, [model]))
    path = f"/evaluations/{done['evaluationId']}/items"
    items = user.get(path, promptId=prompts[1])
    assert [each["itemId"] for each in items] == [f"i{n}" for n in range(6)]
    assert [each["score"] for each in items] == [1, 0, 0, 0, 0, 1]
    assert items[1]["detail"] == 'expected "pos", got "odd"'
    assert (items[1]["expectedLabel"], items[1]["label"]) == ("pos", "odd")
    job = user.get(f"/jobs/{items[1]['jobId']}")
    assert job["responseData"] == {"label": "odd"}
    assert user.get(path)[1]["score"] == 1
    answer = user.http.get(path, params={"limit": 4}, headers=user.headers)
    cursor = answer.headers["X-Next-Cursor"]
    rest = user.get(path, limit=4, cursor=cursor)
    assert [*answer.json(), *rest] == user.get(path)
    assert user.get(path, 400, promptId="gone")


def test_nothing_is_asked_twice(
    user: ApiUser, model: str, provider: FakeProvider
) -> None:
    dataset_id, prompt = dataset(user, 8), user.prompt("good")
    user.worker()
    body = body_of(dataset_id, [prompt], [model])
    first = evaluated(user, body)
    assert len(provider.requests) == 8
    again = evaluated(user, body)
    assert len(provider.requests) == 8
    assert again["results"][0]["score"] == first["results"][0]["score"] == 1
    assert again["results"][0]["cachedAnswers"] == 8
    assert again["jobsUsed"] == 0
    fresh = evaluated(user, {**body, "cache": False})
    assert len(provider.requests) == 16
    assert fresh["results"][0]["cachedAnswers"] == 0


def test_one_side_of_a_split(user: ApiUser, model: str) -> None:
    dataset_id, prompt = dataset(user, 40), user.prompt("good")
    user.worker()
    fractions = {"train": 0.5, "validation": 0.3, "test": 0.2}
    fields = {"split": "test", "seed": 5, "fractions": fractions}
    done = evaluated(user, body_of(dataset_id, [prompt], [model], **fields))
    assert done["results"][0]["count"] == 8
    scored = user.get(f"/evaluations/{done['evaluationId']}/items")
    items = user.get(
        f"/datasets/{dataset_id}/items",
        split="test",
        seed=5,
        train=0.5,
        validation=0.3,
    )
    assert [each["itemId"] for each in scored] == [
        each["id"] for each in items
    ]


def test_errors_score_0_and_are_counted(user: ApiUser, model: str) -> None:
    user.worker()
    prompt = user.prompt("fails")
    done = evaluated(user, body_of(dataset(user, 5), [prompt], [model]))
    (result,) = done["results"]
    assert (result["score"], result["errors"]) == (0.8, 1)
    assert sum(result["errorTypes"].values()) == 1
    assert result["confusion"]["counts"][1][2] == 1
    assert done["progress"]["errors"] == 1


def test_a_judge_and_several_metrics(user: ApiUser, model: str) -> None:
    user.worker()
    judge = {
        "type": "judge",
        "promptId": user.prompt("judge"),
        "model": model,
    }
    metric = [
        {"metric": judge, "weight": 3},
        {"metric": {"type": "regex", "pattern": "pos"}, "weight": 1},
    ]
    prompt = user.prompt("bad")
    body = body_of(dataset(user, 10), [prompt], [model], metric=metric)
    done = evaluated(user, body)
    # Items 0 and 5 are right; of these, only 5 says "pos".
    assert done["results"][0]["score"] == pytest.approx((0.75 + 1) / 10)
    assert done["results"][0]["judgeMetrics"]["outputTokens"] == 10
    assert done["jobsUsed"] == 20


async def likely(body: dict[str, Any]) -> web.StreamResponse:
    """Answer "pos", three times likelier than "neg"."""
    top = [
        {"token": token, "logprob": math.log(chance), "bytes": None}
        for token, chance in (("pos", 0.6), ("neg", 0.2), ("x", 0.2))
    ]
    parts = [{**top[0], "top_logprobs": top}]
    asked = bool(body.get("logprobs"))
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "pos"},
        "finish_reason": "stop",
        "logprobs": {"content": parts} if asked else None,
    }
    return web.json_response(
        {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": "fake",
            "choices": [choice],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1},
        }
    )


@pytest.mark.parametrize(
    ("profile", "scored"), [({}, 0.5), ({"supportsLogprobs": False}, 0.5)]
)
def test_labels_are_scored_by_their_probability(
    user: ApiUser, provider: FakeProvider, profile: Any, scored: float
) -> None:
    provider.handler = likely
    fields = {"profile": profile} if profile else {}
    model = provider_model(user, provider, **fields)
    user.worker()
    metric = {"type": "labelProbability", "labels": ["neg", "pos"]}
    done = evaluated(
        user,
        body_of(
            dataset(user, 8),
            [user.prompt("good")],
            [model],
            metric=metric,
            responseFormat="text",
        ),
    )
    (result,) = done["results"]
    assert result["errors"] == 0
    # As many are positive as negative.
    assert result["score"] == pytest.approx(scored)
    scores = user.get(f"/evaluations/{done['evaluationId']}/items")
    found = {round(each["score"], 4) for each in scores}
    # Where the model tells no probabilities, answers are compared.
    assert found == ({0.0, 1.0} if profile else {0.25, 0.75})


def test_one_is_cancelled_and_deleted(user: ApiUser, model: str) -> None:
    body = body_of(dataset(user), [user.prompt("good")], [model])
    body["parallelism"] = 7
    evaluation_id = user.post("/evaluations", body)["evaluationId"]
    path = f"/evaluations/{evaluation_id}"

    def jobs() -> Any:
        return user.get("/jobs", batchKey=evaluation_id)

    assert len(eventually(jobs)) == 7
    assert ApiUser(user.http).post(f"{path}/cancel", None, 404)
    assert user.post(f"{path}/cancel", None, 200)["status"] == "CANCELLED"
    # Also those that were queued in the same moment.
    eventually(lambda: {job["status"] for job in jobs()} == {"CANCELED"})
    assert user.get(path, wait=30)["status"] == "CANCELLED"
    answer = user.post(f"{path}/cancel", None, 400)
    assert "cannot be cancelled" in answer["detail"]
    assert [each["evaluationId"] for each in user.get("/evaluations")] == [
        evaluation_id
    ]
    assert user.get("/evaluations", status="RUNNING") == []
    user.delete(path)
    assert user.get(path, 404)
    # The same questions are asked again: nothing that failed is kept.
    user.worker()
    assert evaluated(user, body)["results"][0]["score"] == 1


def test_what_cannot_be_evaluated(user: ApiUser, model: str) -> None:
    prompt = user.prompt("good")
    unknown = user.post(
        "/datasets", {"name": "d", "items": [{"requestData": {"n": 0}}]}
    )
    dataset_id = dataset(user, 1)
    judge = {"type": "judge", "promptId": "0" * 24, "model": model}
    for fields, status, words in (
        ({"datasetId": "0" * 24}, 404, "Dataset not found"),
        ({"models": ["gone"]}, 400, "the model 'gone' was not found"),
        ({"promptIds": ["gone"]}, 400, "the prompt 'gone' was not found"),
        ({"metric": judge}, 400, "the prompt"),
        ({"datasetId": unknown["datasetId"]}, 400, "1 of the dataset's 1"),
        ({"split": "test"}, 400, "has no items"),
        ({"metric": {"type": "magic"}}, 422, "magic"),
        ({"metric": {"type": "exact", "x": 1}}, 422, "Unknown field 'x'"),
        ({"models": [model, model]}, 422, "each once"),
        ({"fractions": {"train": 0.6}}, 422, "add up to 1"),
    ):
        body = {**body_of(dataset_id, [prompt], [model]), **fields}
        answer = user.post("/evaluations", body, status)
        assert words in json.dumps(answer), answer
    assert user.get("/evaluations") == []


def test_one_fails_when_its_prompt_is_deleted(
    user: ApiUser, model: str
) -> None:
    prompts = [user.prompt("good"), user.prompt("gone")]
    body = body_of(dataset(user, 4), prompts, [model], parallelism=1)
    made = user.post("/evaluations", body)
    user.delete(f"/prompts/{prompts[1]}")
    user.worker()
    done = ended(user, made["evaluationId"])
    assert done["status"] == "FAILED"
    assert done["failureReason"] == f"Prompt {prompts[1]} not found"


@pytest.mark.long
def test_a_killed_service_goes_on_and_queues_nothing_twice(
    data_dir: Path, provider: FakeProvider
) -> None:
    provider.handler = labelled
    provider.delay = 0.05
    with (
        service_process(data_dir, PROVIDER_KEY=PROVIDER_KEY) as service,
        httpx2.Client(base_url=service.url, timeout=60) as http,
    ):
        user = ApiUser(http)
        model = provider_model(user, provider)
        prompts = [user.prompt("good"), user.prompt("bad")]
        user.worker(maxConcurrency=2, maxItemsPerBatch=2)
        body = body_of(dataset(user, 30), prompts, [model], parallelism=8)
        made = user.post("/evaluations", body)
        for asked in (5, 25):
            eventually(partial(provider.was_asked, asked))
            service.kill()
            service.start()
        provider.delay = 0
        done = ended(user, made["evaluationId"])
        assert done["status"] == "COMPLETED"
        assert [each["score"] for each in done["results"]] == [1.0, 0.2]
        assert done["jobsUsed"] == user.get("/jobs/summary")["total"] == 60
