"""What a provider refuses is learnt, shown, and forgotten by a change."""

from typing import Any

from tests.support.api_user import ADMIN, ApiUser, Json
from tests.support.fake_provider import FakeProvider, completion, failure
from tests.support.waiting import eventually


def path_of(user: ApiUser, name: str) -> str:
    (found,) = [
        each
        for each in user.get("/models", limit=10_000)
        if each["name"] == name
    ]
    return f"/models/{found['model_id']}"


def health(user: ApiUser, name: str) -> Json:
    path = f"{path_of(user, name)}/health"
    found: Json = user.request("GET", path, 200, headers=ADMIN)
    return found


def refuse_temperature(provider: FakeProvider) -> None:
    async def handler(body: dict[str, Any]) -> Any:
        if "temperature" in body:
            return failure(400, "temperature is not supported by this model")
        return completion('{"a": 1}')

    provider.handler = handler


def run_job(user: ApiUser, model: str) -> None:
    job = user.ended(user.job(model, user.prompt())["jobId"])
    assert job["status"] == "PROCESSED", job["errorData"]


def test_a_refused_option_is_learnt_once_and_shown(
    user: ApiUser, provider: FakeProvider
) -> None:
    refuse_temperature(provider)
    model = user.model(sdk="OpenAI", endpoint=provider.url, key="PROVIDER-KEY")
    user.worker()
    run_job(user, model)
    run_job(user, model)
    sent = ["temperature" in body for body in provider.requests]
    assert sent == [True, False, False]
    shown = eventually(lambda: health(user, model)["learnt"])
    assert shown["supportsTemperature"] is False
    assert health(user, model)["refusedOptions"] == ["temperature"]
    user.request(
        "PATCH",
        path_of(user, model),
        200,
        headers=ADMIN,
        json={"profile": {"supportsTemperature": False}},
    )
    # Jobs see the change soon; then nothing is refused and learnt any more.
    eventually(lambda: _is_forgotten(user, model))
    assert sum("temperature" in body for body in provider.requests) == 1


def _is_forgotten(user: ApiUser, model: str) -> bool:
    run_job(user, model)
    found = health(user, model)
    return bool(found["processes"]) and found["learnt"] is None
