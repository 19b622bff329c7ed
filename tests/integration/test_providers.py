"""Jobs and streams through every provider's real library."""

from typing import Any

import pytest

from provider_simulator.running import Simulator
from tests.support.api_user import ApiUser, Json

PROVIDERS = [
    "OpenAI",
    "AzureOpenAI",
    "ChatCompletionsClient",
    "Anthropic",
    "Gemini",
]
of_every_provider = pytest.mark.parametrize("sdk", PROVIDERS)

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


def simulated(
    user: ApiUser, simulator: Simulator, sdk: str = "OpenAI", **fields: Any
) -> str:
    """Make a model that the simulator answers for."""
    return user.model(
        sdk=sdk,
        endpoint=simulator.base_urls[sdk],
        key="PROVIDER-KEY",
        deployment="sim",
        apiVersion="2024-10-21" if "Azure" in sdk else "",
        **fields,
    )


def done(user: ApiUser, model: str, **fields: Any) -> Json:
    """Have one job run to its end."""
    user.worker()
    return user.ended(user.job(model, user.prompt(), **fields)["jobId"])


@of_every_provider
def test_a_job(user: ApiUser, simulator: Simulator, sdk: str) -> None:
    model = simulated(user, simulator, sdk)
    job = done(user, model, requestData={"n": 7})
    assert job["status"] == "PROCESSED", job["errorData"]
    assert job["responseData"]["echo"] == {"n": 7}
    metrics = job["processingMetrics"]
    assert metrics["inputTokens"] > 0
    assert metrics["outputTokens"] > 0
    assert metrics["totalCost"] > 0


@of_every_provider
def test_a_stream(user: ApiUser, simulator: Simulator, sdk: str) -> None:
    model = simulated(user, simulator, sdk)
    body = {"userPrompt": "Hello, you!", "model": model}
    answer = user.http.post("/stream", headers=user.headers, json=body)
    assert answer.status_code == 200
    assert "Hello, you!" in answer.text


@of_every_provider
def test_an_answer_by_schema(
    user: ApiUser, simulator: Simulator, sdk: str
) -> None:
    model = simulated(user, simulator, sdk)
    job = done(user, model, responseSchema=PERSON)
    assert job["status"] == "PROCESSED", job["errorData"]
    assert set(job["responseData"]) == {"name", "age"}
    assert job["responseSchema"] == PERSON


@of_every_provider
def test_an_answer_that_does_not_fit_its_schema_is_kept(
    user: ApiUser, simulator: Simulator, sdk: str
) -> None:
    simulator.script({"pattern": ".", "text": '{"name": 7}'})
    model = simulated(user, simulator, sdk)
    job = done(user, model, responseSchema=PERSON)
    error = job["errorData"]
    assert error["errorType"] == "SCHEMA_MISMATCH"
    assert error["failedResponseData"] == '{"name": 7}'
    assert job["processingMetrics"]["outputTokens"] > 0


@of_every_provider
def test_an_answer_as_text(
    user: ApiUser, simulator: Simulator, sdk: str
) -> None:
    simulator.script({"pattern": ".", "text": "Dear {you}"})
    model = simulated(user, simulator, sdk)
    job = done(user, model, responseFormat="text")
    assert job["responseData"] == {"text": "Dear {you}"}


@of_every_provider
def test_a_cut_answer_is_an_error_with_what_came(
    user: ApiUser, simulator: Simulator, sdk: str
) -> None:
    model = simulated(user, simulator, sdk, maxToken=2)
    error = done(user, model)["errorData"]
    assert error["errorType"] == "TRUNCATED"
    assert error["failedResponseData"].startswith("{")
    assert (error["provider"], error["model"]) == (sdk, model)


@of_every_provider
def test_a_refused_key_names_no_key(
    user: ApiUser, simulator: Simulator, sdk: str
) -> None:
    simulator.configure(api_key="another-key")
    job = done(user, simulated(user, simulator, sdk, onSuspended="fail"))
    assert job["errorData"]["errorType"] == "NOT_AUTHORIZED"
    assert "sk-provider-secret" not in str(job)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"responseSchema": {"type": "nonsense"}}, "JSON Schema"),
        ({"responseSchema": {"$ref": "http://127.0.0.1:1/x"}}, "#/$defs/"),
        ({"responseSchema": PERSON, "responseFormat": "text"}, "json"),
        ({"responseFormat": "xml"}, "json"),
    ],
)
def test_a_form_that_cannot_be_asked_for_is_refused(
    user: ApiUser, fields: Json, words: str
) -> None:
    body = user.job_body(user.model(), user.prompt(), **fields)
    answer = user.post("/jobs", body, 422)
    assert words in answer["detail"][0]["msg"]
