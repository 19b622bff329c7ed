"""Jobs that take earlier answers: what is found, and what never is."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from provider_simulator.running import Simulator
from tests.support.api_user import ADMIN, ApiUser, Json
from tests.support.waiting import eventually

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
TOOL = {
    "type": "function",
    "function": {"name": "look", "parameters": {"type": "object"}},
}


class Asking:
    """A client with a model of the simulator, and what it has cost."""

    def __init__(self, user: ApiUser, simulator: Simulator) -> None:
        self.user = user
        self.simulator = simulator
        self.worker = user.worker()
        self.model = self.new_model()
        self.prompt = user.prompt("Answer as JSON.")

    def new_model(self, **fields: Any) -> str:
        return self.user.model(
            sdk="OpenAI",
            endpoint=self.simulator.base_urls["OpenAI"],
            key="PROVIDER-KEY",
            deployment="theirs",
            **fields,
        )

    def body(self, **fields: Any) -> Json:
        body = self.user.job_body(self.model, self.prompt, cache="use")
        return {**body, **fields}

    def ask(self, **fields: Any) -> Json:
        """Submit a job, and return it when it has ended."""
        made: Json = self.user.post("/jobs", self.body(**fields))
        job = self.user.ended(made["jobId"])
        assert job["status"] == "PROCESSED", job["errorData"]
        return job

    def calls(self) -> int:
        return int(self.simulator.stats()["requests"])

    def cached_answers(self) -> int:
        total = self.user.get("/usage")["total"]
        return int(total["cachedAnswers"])


@pytest.fixture
def asking(
    http: httpx2.Client, shared_simulator: Simulator
) -> Iterator[Asking]:
    user = ApiUser(http)
    shared_simulator.script({"text": '{"a": "b"}'})
    yield Asking(user, shared_simulator)
    user.stop_workers()


def test_the_same_question_is_answered_at_once(asking: Asking) -> None:
    first = asking.ask()
    again = asking.user.post("/jobs", asking.body(priority=5, id="mine"))
    assert again["status"] == "PROCESSED"
    assert again["responseData"] == {"a": "b"} == first["responseData"]
    assert again["cachedFrom"] == first["jobId"]
    assert again["processingMetrics"]["totalTokens"] == 0
    assert "cachedFrom" not in first
    assert asking.calls() == 1
    eventually(
        lambda: asking.cached_answers() == 1,
        what="the ledger",
    )
    total = asking.user.get("/usage")["total"]
    assert total["requests"] == 1
    assert total["unpricedRequests"] == 0
    # And it is a job as others are.
    listed = asking.user.get("/jobs", id="mine")
    assert [job["jobId"] for job in listed] == [again["jobId"]]
    asking.user.patch(f"/jobs/{again['jobId']}", {"status": "CONSUMED"})


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"temperature": 0.5}, id="temperature"),
        pytest.param({"responseSchema": SCHEMA}, id="schema"),
        pytest.param({"responseFormat": "text"}, id="format"),
        pytest.param({"requestData": {"text": "bye"}}, id="data"),
        pytest.param({"sampling": {"seed": 1}}, id="sampling"),
        pytest.param({"tools": [TOOL]}, id="tools"),
        pytest.param({"sample": 1}, id="sample"),
        pytest.param({"retryOnInvalid": {"maxReasks": 1}}, id="reasks"),
        pytest.param(
            {"messages": [{"role": "user", "content": "x"}]}, id="messages"
        ),
    ],
)
def test_another_question_is_asked(asking: Asking, fields: Json) -> None:
    asking.ask()
    other = asking.ask(**fields)
    assert "cachedFrom" not in other
    assert asking.calls() == 2
    # Negative control: both are known from now on.
    assert "cachedFrom" in asking.ask(**fields)
    assert "cachedFrom" in asking.ask()
    assert asking.calls() == 2


def test_another_model_or_prompt_is_asked(asking: Asking) -> None:
    asking.ask()
    other_model = asking.new_model(maxToken=99)
    other_prompt = asking.user.prompt("Answer as JSON, please.")
    asking.ask(model=other_model)
    asking.ask(workingPrompts=[other_prompt])
    assert asking.calls() == 3
    # Another name for the same is no other question.
    same_model = asking.new_model()
    same_prompt = asking.user.prompt("Answer as JSON.")
    assert "cachedFrom" in asking.ask(
        model=same_model, workingPrompts=[same_prompt]
    )


def test_a_changed_model_or_prompt_is_asked(asking: Asking) -> None:
    asking.ask()
    prompt = {"prompt": "Answer otherwise, as JSON."}
    asking.user.patch(f"/prompts/{asking.prompt}", prompt)
    assert "cachedFrom" not in asking.ask()
    asking.user.patch(f"/prompts/{asking.prompt}", {"prompt": "As JSON."})
    models = asking.user.http.get("/models?limit=1000", headers=ADMIN).json()
    (model,) = [m for m in models if m["name"] == asking.model]
    asking.ask()
    asking.user.request(
        "PATCH",
        f"/models/{model['model_id']}",
        200,
        json={"maxToken": 77},
        headers=ADMIN,
    )
    assert "cachedFrom" not in asking.ask()
    assert asking.calls() == 4


def test_without_cache_nothing_is_found_nor_kept(asking: Asking) -> None:
    asking.ask(cache="off")
    assert "cachedFrom" not in asking.ask()
    assert "cachedFrom" not in asking.ask(cache="off")
    assert asking.calls() == 3


def test_a_fresh_answer_takes_the_place_of_the_old_one(
    asking: Asking,
) -> None:
    asking.ask()
    asking.simulator.script({"text": '{"a": "new"}'})
    for _ in range(3):
        fresh = asking.ask(cache="fresh")
        assert fresh["responseData"] == {"a": "new"}
    found = asking.ask()
    assert found["cachedFrom"] == fresh["jobId"]
    assert asking.calls() == 4


def test_nobody_gets_an_answer_of_another_client(
    asking: Asking, http: httpx2.Client
) -> None:
    asking.ask()
    other = Asking(ApiUser(http), asking.simulator)
    body = other.body(model=asking.model)
    job = other.user.post("/jobs", body)
    other.user.ended(job["jobId"])
    other.user.stop_workers()
    assert asking.calls() == 2


def test_a_deleted_or_changed_answer_is_not_found(asking: Asking) -> None:
    first = asking.ask()
    asking.user.delete(f"/jobs/{first['jobId']}")
    second = asking.ask()
    assert "cachedFrom" not in second
    path = f"/jobs/{second['jobId']}/full"
    asking.user.patch(path, {"responseData": {"a": "mine"}})
    third = asking.ask()
    assert "cachedFrom" not in third
    # Nor one that is thrown away.
    asking.user.patch(f"/jobs/{third['jobId']}", {"status": "CANCELED"})
    assert "cachedFrom" not in asking.ask()
    assert asking.calls() == 4


def test_a_prompt_that_changes_while_a_job_waits_gives_no_known_answer(
    asking: Asking,
) -> None:
    user = asking.user
    user.post(f"/workers/{asking.worker}/stop", None, 200)
    waiting = user.post("/jobs", asking.body())
    user.patch(f"/prompts/{asking.prompt}", {"prompt": "Other, as JSON."})
    user.post(f"/workers/{asking.worker}/start", None, 200)
    assert user.ended(waiting["jobId"])["status"] == "PROCESSED"
    user.patch(f"/prompts/{asking.prompt}", {"prompt": "Answer as JSON."})
    # What it was submitted with was never asked.
    assert "cachedFrom" not in asking.ask()
    assert asking.calls() == 2


def test_equal_jobs_of_one_batch_are_asked_once(asking: Asking) -> None:
    asking.simulator.configure(latency_ms=300)
    bodies = [asking.body(requestData={"n": n % 5}) for n in range(40)]
    made = asking.user.post("/jobs/batch", {"jobs": bodies})
    jobs = [asking.user.ended(job["jobId"], 30) for job in made]
    assert {job["status"] for job in jobs} == {"PROCESSED"}
    assert asking.calls() == 5
    assert sum("cachedFrom" in job for job in jobs) == 35
    assert not any(job["attemptHistory"] for job in jobs)
    eventually(lambda: asking.cached_answers() == 35, what="the ledger")
    # Negative control: without the cache, each is asked.
    for body in bodies:
        body["cache"] = "off"
    made = asking.user.post("/jobs/batch", {"jobs": bodies})
    for job in made:
        asking.user.ended(job["jobId"], 30)
    assert asking.calls() == 45


def test_who_waits_asks_itself_if_the_first_one_fails(
    asking: Asking,
) -> None:
    asking.simulator.script(
        {"text": "no JSON at all", "times": 1}, {"text": '{"a": "b"}'}
    )
    asking.simulator.configure(latency_ms=300)
    bodies = [asking.body()] * 2
    made = asking.user.post("/jobs/batch", {"jobs": bodies})
    ends = [asking.user.ended(job["jobId"]) for job in made]
    statuses = sorted(job["status"] for job in ends)
    assert statuses == ["ERROR_PROCESSING", "PROCESSED"]
    assert asking.calls() == 2


def test_a_waiting_job_says_what_it_waits_for(asking: Asking) -> None:
    asking.simulator.configure(latency_ms=1500)
    made = asking.user.post("/jobs/batch", {"jobs": [asking.body()] * 2})

    def kinds() -> set[object]:
        jobs = [asking.user.get(f"/jobs/{job['jobId']}") for job in made]
        return {(job["waitingFor"] or {}).get("kind") for job in jobs}

    eventually(lambda: "ANSWER" in kinds(), what="the reason")


def test_a_request_that_is_repeated_is_counted_once(asking: Asking) -> None:
    asking.ask()
    headers = {"Idempotency-Key": "k"}
    first = asking.user.post("/jobs", asking.body(), 201, **headers)
    again = asking.user.post("/jobs", asking.body(), 201, **headers)
    assert again == first
    assert first["cachedFrom"]
    eventually(lambda: asking.cached_answers() == 1, what="the ledger")


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"cache": "off", "sample": 1}, id="sample alone"),
        pytest.param({"evalModel": "m", "evalPrompt": "p"}, id="evaluation"),
        pytest.param({"cache": "always"}, id="unknown"),
        pytest.param({"sample": -1}, id="negative"),
    ],
)
def test_what_makes_no_sense_is_refused(asking: Asking, fields: Json) -> None:
    asking.user.post("/jobs", asking.body(**fields), 422)


def test_templates_are_known_by_what_they_make(asking: Asking) -> None:
    prompt = asking.user.prompt("{{ lead }}: {{ text }}")
    fields: Json = {"workingPrompts": [prompt], "requestData": None}
    asking.ask(**fields, variables={"lead": "Say", "text": "a"})
    for variables, known in (
        ({"lead": "Say", "text": "a", "unused": 1}, True),
        ({"lead": "Say", "text": "b"}, False),
    ):
        job = asking.ask(**fields, variables=variables)
        assert ("cachedFrom" in job) is known
    assert asking.calls() == 2


def rows_asked(asking: Asking, rows: list[Json], **fields: Any) -> Json:
    body = {"job": asking.body(**fields), "rows": rows}
    found: Json = asking.user.post("/jobs/answers", body, 200)
    return found


def test_many_rows_are_looked_up_without_jobs(asking: Asking) -> None:
    first = asking.ask(requestData={"n": 1})
    rows = [{"n": n} for n in (0, 1, 2, 1)]
    found = rows_asked(asking, rows)
    answer = {"jobId": first["jobId"], "responseData": {"a": "b"}}
    assert found == {"known": 2, "answers": [None, answer, None, answer]}
    eventually(lambda: asking.cached_answers() == 2, what="the ledger")
    assert asking.user.get("/jobs/summary")["total"] == 1
    # Negative control: of another question, nothing is known.
    assert rows_asked(asking, rows, temperature=1)["known"] == 0
    assert asking.calls() == 1


def test_rows_fill_templates(asking: Asking) -> None:
    prompt = asking.user.prompt("{{ text }}!")
    fields: Json = {"workingPrompts": [prompt], "requestData": None}
    asking.ask(**fields, variables={"text": "a"})
    rows = [{"txt": "a"}, {"text": "a"}, {"text": "b"}]
    found = rows_asked(asking, rows, **fields, variables=rows[1])
    assert [each is not None for each in found["answers"]] == [
        False,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        pytest.param({"rows": []}, 422, id="no rows"),
        pytest.param({"rows": [1]}, 422, id="no object"),
        pytest.param({"rows": [{}] * 1001}, 422, id="too many"),
        pytest.param({"job": {"operation": "x"}}, 422, id="no job"),
        pytest.param({"more": 1}, 422, id="unknown"),
    ],
)
def test_what_cannot_be_looked_up_is_refused(
    asking: Asking, change: Json, status: int
) -> None:
    body = {"job": asking.body(), "rows": [{}], **change}
    asking.user.post("/jobs/answers", body, status)


def test_rows_of_an_unknown_model_are_refused(asking: Asking) -> None:
    body = {"job": asking.body(model="none"), "rows": [{}]}
    said = asking.user.post("/jobs/answers", body, 400)
    assert "model" in said["detail"]


def test_answers_of_an_evaluation_are_found(asking: Asking) -> None:
    user = asking.user
    items = [{"requestData": {"n": n}, "expected": "b"} for n in range(3)]
    dataset = user.post("/datasets", {"name": "d", "items": items})
    body = {
        "datasetId": dataset["datasetId"],
        "promptIds": [asking.prompt],
        "models": [asking.model],
        "metric": {"type": "exact"},
        "temperature": 0,
    }
    evaluation = user.post("/evaluations", body)["evaluationId"]
    eventually(
        lambda: user.get(f"/evaluations/{evaluation}")["status"] != "RUNNING",
        what="the evaluation",
    )
    found = asking.ask(requestData={"n": 2})
    assert found["cachedFrom"]
    assert asking.calls() == 3
    # Negative control: without its cache, nobody finds its answers.
    body = {**body, "temperature": 1, "cache": False}
    evaluation = user.post("/evaluations", body)["evaluationId"]
    eventually(
        lambda: user.get(f"/evaluations/{evaluation}")["status"] != "RUNNING",
        what="the evaluation",
    )
    asking.ask(requestData={"n": 2}, temperature=1)
    assert asking.calls() == 7
