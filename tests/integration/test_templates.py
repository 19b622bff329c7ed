"""Jobs with variables: their prompts and messages are templates."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.support.api_user import ApiUser, Json
from tests.support.fake_provider import FakeProvider, completion
from tests.support.waiting import eventually

VARIABLES: Json = {"text": "Never again.", "lang": "en", "tags": ["a", "b"]}


@pytest.fixture
def user(http: httpx2.Client) -> Iterator[ApiUser]:
    user = ApiUser(http)
    user.worker()
    yield user
    user.stop_workers()


@pytest.fixture
def faked(user: ApiUser, provider: FakeProvider) -> str:
    async def answer(_: Json) -> Any:
        return completion('{"label": "bad"}')

    provider.handler = answer
    return user.model(
        sdk="OpenAI",
        endpoint=provider.url,
        key="PROVIDER-KEY",
        deployment="fake",
        maxToken=500,
    )


def asked(
    user: ApiUser, provider: FakeProvider, model: str, **fields: Any
) -> list[Json]:
    body = {"operation": "talk", "model": model, "temperature": 0, **fields}
    job = user.ended(user.post("/jobs", body)["jobId"])
    assert job["status"] == "PROCESSED", job["errorData"]
    (request,) = provider.requests
    messages: list[Json] = request["messages"]
    return messages


def test_a_prompt_alone_is_the_question(
    user: ApiUser, faked: str, provider: FakeProvider
) -> None:
    prompt = user.prompt("Label {{ lang }}: {{ text }} {{ tags | json }}")
    messages = asked(
        user, provider, faked, workingPrompts=[prompt], variables=VARIABLES
    )
    assert messages == [
        {"role": "user", "content": 'Label en: Never again. ["a","b"]'}
    ]


def test_system_and_messages_are_filled(
    user: ApiUser, faked: str, provider: FakeProvider
) -> None:
    messages = asked(
        user,
        provider,
        faked,
        workingPrompts=[user.prompt("You know {{lang}}.")],
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "{{text}}"}]}
        ],
        requestData={"also": "{{text}}"},
        variables=VARIABLES,
    )
    assert [each["role"] for each in messages] == ["system", "user", "user"]
    said = [str(each["content"]) for each in messages]
    assert said[0] == "You know en."
    assert "Never again." in said[1]
    # Data is no template.
    assert said[2] == '{"also":"{{text}}"}'


def test_without_variables_braces_are_braces(
    user: ApiUser, faked: str, provider: FakeProvider
) -> None:
    prompt = user.prompt("Say {{ text }} {% for %}")
    system, _ = asked(
        user, provider, faked, workingPrompts=[prompt], requestData=VARIABLES
    )
    assert system["content"] == "Say {{ text }} {% for %}"


def test_an_unknown_name_is_refused_before_any_call(
    user: ApiUser, faked: str, provider: FakeProvider
) -> None:
    body = {
        "operation": "talk",
        "model": faked,
        "workingPrompts": [user.prompt("{{ txet }}")],
        "variables": VARIABLES,
    }
    (problem,) = user.post("/jobs", body, 422)["detail"]
    assert problem["loc"] == ["body", "workingPrompts"]
    assert "'txet' is not known (did you mean 'text'?)" in problem["msg"]
    batch = {"jobs": [{**body, "workingPrompts": [user.prompt("x")]}, body]}
    detail = user.post("/jobs/batch", batch, 400)["detail"]
    assert "batch item 1: workingPrompts: 'txet' is not known" in detail
    assert user.get("/jobs/summary")["total"] == 0
    assert not provider.requests


@pytest.mark.parametrize(
    "text",
    [
        "{% for x in tags %}{{ x }}{% endfor %}",
        "{{ range(1000000000) }}",
        "{{ ''.__class__.__mro__ }}",
    ],
)
def test_hostile_templates_are_refused(
    user: ApiUser, faked: str, text: str
) -> None:
    body = {
        "operation": "talk",
        "model": faked,
        "messages": [{"role": "user", "content": text}],
        "variables": VARIABLES,
    }
    (problem,) = user.post("/jobs", body, 422)["detail"]
    assert problem["loc"] == ["body", "messages"]


def test_a_batch_may_not_have_a_template_for_each_job(
    user: ApiUser, faked: str
) -> None:
    jobs = [
        {
            "operation": "talk",
            "model": faked,
            "messages": [{"role": "user", "content": f"{n} {{{{ text }}}}"}],
            "variables": VARIABLES,
        }
        for n in range(101)
    ]
    detail = user.post("/jobs/batch", {"jobs": jobs}, 400)["detail"]
    assert "put what differs into variables" in detail


def test_a_prompt_that_changes_meanwhile_costs_no_call(
    http: httpx2.Client, faked: str, provider: FakeProvider
) -> None:
    user = ApiUser(http)
    prompt = user.prompt("{{ text }}")
    job = user.post(
        "/jobs",
        {
            "operation": "talk",
            "model": faked,
            "workingPrompts": [prompt],
            "variables": VARIABLES,
        },
    )
    user.patch(f"/prompts/{prompt}", {"prompt": "{{ other }}"})
    user.worker()
    ended = user.ended(job["jobId"])
    user.stop_workers()
    assert ended["status"] == "ERROR_PROCESSING"
    assert ended["errorData"]["errorType"] == "TEMPLATE_ERROR"
    assert "'other' is not known" in ended["errorData"]["message"]
    assert not provider.requests


def test_an_evaluation_fills_its_prompt_from_items(
    user: ApiUser, faked: str, provider: FakeProvider
) -> None:
    items = [
        {"requestData": {"text": text}, "expected": "bad"}
        for text in ("one", "two")
    ]
    dataset = user.post("/datasets", {"name": "d", "items": items})
    made = user.post(
        "/evaluations",
        {
            "datasetId": dataset["datasetId"],
            "promptIds": [user.prompt("Judge: {{ text }}")],
            "models": [faked],
            "metric": {"type": "jsonField", "path": "label"},
            "itemsAs": "variables",
        },
    )
    path = f"/evaluations/{made['evaluationId']}"
    eventually(lambda: user.get(path)["status"] == "COMPLETED", seconds=15)
    assert user.get(path)["results"][0]["score"] == 1
    said = sorted(each["messages"][0]["content"] for each in provider.requests)
    assert said == ["Judge: one", "Judge: two"]
